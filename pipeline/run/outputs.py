"""What a run wrote, as DVC digests it: said in run.json and in MLflow by the process that wrote it.

The lock alone would also hold what somebody put in place of an output and recorded with `dvc commit`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.core.files import file_digest

IGNORED = frozenset({"__pycache__", ".gitignore"})  # .dvcignore, and what DVC puts beside outputs itself


def folder_md5(members: Mapping[str, str]) -> str:
    """DVC's digest of a folder from the md5 of each file by its path within it: `<md5>.dir`."""
    entries = [{"md5": members[name], "relpath": name} for name in sorted(members)]
    return f"{hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest()}.dir"


def folder_members(folder: Path) -> dict[str, str]:
    """md5 of each file below a folder by its path within it."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not IGNORED & set(path.parts)]
    with ThreadPoolExecutor() as threads:  # hashing leaves the GIL
        digests = threads.map(lambda path: file_digest(path, "md5"), files)
        return dict(zip((path.relative_to(folder).as_posix() for path in files), digests, strict=True))


def dvc_md5(path: Path) -> str | None:
    """DVC's digest of a file or a folder; None where there is none."""
    if path.is_dir():
        return folder_md5(folder_members(path))
    return file_digest(path, "md5") if path.is_file() else None


def written(paths: Iterable[Path]) -> dict[str, str]:
    """DVC's digests of outputs by their paths; those that are not there are left out."""
    digests = {path.as_posix(): dvc_md5(path) for path in paths}
    return {path: digest for path, digest in digests.items() if digest}
