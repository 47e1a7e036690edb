"""The project's DVC repository, opened in one place: what DVC refuses is one line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from pipeline.core.errors import MienError


@contextlib.contextmanager
def repository(root: Path | None = None) -> Iterator[Repo]:
    """The repository at `root`, or of the working directory; `MienError` where there is none, or a damaged dvc.yaml."""
    try:
        with Repo(root and str(root)) as repo:
            yield repo
    except DvcException as error:
        first = " ".join(str(error).split())[:300]
        raise MienError(f"{first}; run from the project's root", exit_code=2) from None
