"""Files: their digests, and publishing: an output is complete or absent.

Write beside the target, fsync, then `os.replace`: the pattern of timm's checkpoint saver, for files and for
directories. What a killed process left beside its target (`.NAME.tmp-MACHINE-PID`) goes when another process of that
machine next writes there.
"""

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from pipeline.core.errors import MienError

MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]  # a process id says nothing about another machine's
LEFTOVER = re.compile(rf"\..+\.tmp-{MACHINE}-(\d+)")


def below(folder: Path, name: str) -> Path:
    """`folder / name`, which must lie in the folder: names are checked where they enter, this is the last look."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise MienError(f"{name[:120]!r} leads out of {folder}; nothing is written there")
    return path


def file_digest(path: Path, name: str = "sha256") -> str:
    """Hex digest of a file by the algorithm `name`, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


def content_digest(paths: list[Path], digest_of: Callable[[Path], str] = file_digest) -> str:
    """sha256 over the names and bytes of files and folders; what is absent counts by its name alone.

    `digest_of` gives a file's sha256: `file_digest`, or one that remembers.
    """
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.name != ".gitignore":
                digest.update(f"{file.as_posix()}\0{digest_of(file)}\n".encode())
            elif not path.is_dir():
                digest.update(f"{file.as_posix()}\0\n".encode())
    return digest.hexdigest()


def sizes_digest(paths: list[Path]) -> str:
    """sha256 over names and sizes, without a look at the bytes: tells what is absent or cut off."""
    told = [f"{path.as_posix()}\0{path.stat().st_size if path.is_file() else path.is_dir()}\n" for path in paths]
    return hashlib.sha256("".join(told).encode()).hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(target: Path) -> Path:
    """A temporary path beside `target`, in a folder that is there and free of what killed processes left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent.resolve(), os.getpid())
    return target.with_name(f".{target.name}.tmp-{MACHINE}-{os.getpid()}")


@functools.lru_cache(maxsize=4096)
def _sweep(folder: Path, process: int) -> None:
    """Remove the temporaries in `folder` whose process lives no more; once a `process`, as a listing takes its time."""
    for name in os.listdir(folder):
        match = LEFTOVER.fullmatch(name)
        if match and not lives(int(match[1])):
            _remove(folder / name)


def lives(process: int) -> bool:
    """Whether a process of that id still works: this one counts, a killed one that nobody waited for does not."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, OverflowError):
        return False


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder; one that is gone already, or may not be removed, is passed over."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it replaces `target`, on any error it is removed."""
    temporary = _beside(target)
    try:
        yield temporary
        _fsync(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_bytes(target: Path, data: bytes) -> None:
    """Publish `data` as `target` in one step."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(target: Path, text: str) -> None:
    """Publish `text` as UTF-8 with the line ends it has (no translation)."""
    atomic_write_bytes(target, text.encode("utf-8"))


def write_json(target: Path, content: Any, sort_keys: bool = False) -> None:
    """Publish `content` as JSON that a person can read and a diff can show."""
    atomic_write_text(target, json.dumps(content, indent=1, sort_keys=sort_keys) + "\n")


@contextlib.contextmanager
def atomic_dir(target: Path) -> Iterator[Path]:
    """Yield an empty directory beside `target`; on success it takes `target`'s place, whatever stood there before."""
    temporary = _beside(target)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file() and not path.is_symlink():
                _fsync(path)
        if target.exists():
            shutil.rmtree(target)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
