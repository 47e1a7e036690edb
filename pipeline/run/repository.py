"""The project's DVC repository, opened in one place: what DVC refuses is one line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from pipeline.core.errors import MienError


@contextlib.contextmanager
def repository(root: Path | None = None, wait: bool = False) -> Iterator[Repo]:
    """The repository at `root`, or of the working directory; `MienError` where there is none, or a damaged dvc.yaml.

    Its lock, asked for while another process holds it, is waited for with `wait`, and else refused after some seconds.
    """
    try:
        with Repo(root and str(root), _wait_for_lock=wait) as repo:
            yield repo
    except DvcException as error:
        first = " ".join(str(error).split())[:300]
        raise MienError(f"{first}; run from the project's root", exit_code=2) from None


@contextlib.contextmanager
def nobody_writes() -> Iterator[Path]:
    """While no DVC writes the `dvc.lock` of the working directory's project; one that is about to is waited for.

    Gives the folder of the run cache, which nobody writes either.
    """
    with repository(wait=True) as repo, repo.lock:
        yield Path(repo.stage_cache.cache_dir)


def drop_empty_runs(run_cache: Path) -> None:
    """Remove the folder of a run that DVC was killed before it could write: DVC takes it for a run and fails."""
    for folder in run_cache.glob("*/*"):
        with contextlib.suppress(OSError):  # a folder with a run in it stays
            folder.rmdir()
