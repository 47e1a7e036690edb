"""A part of the workspace as a lock knew it: links to the bytes of outputs, in a folder of its own."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.audit.case import Case
from pipeline.audit.lineage import is_below
from pipeline.core.errors import MienError


@contextlib.contextmanager
def as_locked(case: Case, paths: list[str]) -> Iterator[Path]:
    """The working directory for the length of the block: every file of the lock at or below `paths`, checked.

    The stages' functions read from the project's root, so the folder is made to look like one. `MienError` names a
    file whose bytes are neither in the cache nor on disk.
    """
    with tempfile.TemporaryDirectory(prefix="mien-audit-") as folder:
        for path, md5 in _wanted(case, paths).items():
            found = case.objects.find(path, md5)
            if found is None:
                raise MienError(f"{path}: its bytes ({md5[:12]}) are neither in DVC's cache nor on disk; `dvc pull`")
            target = Path(folder) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(found.resolve())
        with contextlib.chdir(folder):
            yield Path(folder)


def _wanted(case: Case, paths: list[str]) -> dict[str, str]:
    """md5 of each file at or below some paths."""
    files: dict[str, str] = {}
    for item in case.lock.items().values():
        if any(is_below(item.path, path) or is_below(path, item.path) for path in paths):
            members = case.objects.members(item)
            if members is None:
                raise MienError(f"{item.path}: what it holds is not in DVC's cache; `dvc pull {item.path}`")
            files |= {name: md5 for name, md5 in members.items() if any(is_below(name, path) for path in paths)}
    return files
