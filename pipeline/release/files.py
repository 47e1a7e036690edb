"""One way to list and read a release, whether it is a loose folder or an imported pack."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import model_validator

from pipeline.abaw.names import unsafe
from pipeline.core.errors import MienError
from pipeline.core.params import Section
from pipeline.core.suffixes import is_image

HIDDEN = ("__MACOSX",)
CHUNK = 1 << 22
MAX_READ = 1 << 30  # the largest official text has 30 MB


class Data(Section):
    """Where the official release lies and what to call it."""

    root: str
    name: str

    @model_validator(mode="after")
    def _relative(self) -> "Data":
        if Path(self.root).is_absolute() or ".." in Path(self.root).parts:
            raise ValueError(
                f"root must be a path below the project, not {self.root}; link or import the release there"
            )
        return self


@dataclass(frozen=True, order=True)
class File:
    """A file of a folder: its name, bytes, and a stamp that changes when the content may have changed."""

    name: str
    size: int
    stamp: int = 0


class Store(Protocol):
    """A tree of files below one root; paths are relative POSIX paths, "" is the root itself."""

    def list(self, folder: str) -> tuple[list[str], list[File]]:
        """Sorted subfolders' names and files of `folder`, hidden ones left out."""
        ...

    def has(self, path: str) -> bool:
        """Whether `path` is a file of the tree."""
        ...

    def read(self, path: str) -> bytes:
        """Bytes of one file; MienError when it cannot be read."""
        ...

    def images(self, folder: str) -> Iterator[tuple[str, bytes]]:
        """Names and bytes of the images right in `folder`, sorted by name."""
        ...

    def chunks(self, path: str) -> Iterator[bytes]:
        """Bytes of one file piece by piece, for files too large to hold."""
        ...

    def local(self, path: str) -> Path | None:
        """Where the file lies on disk as it is; None when it has to be copied out."""
        ...


def join(folder: str, name: str) -> str:
    """Path of `name` in `folder` ("" is the root)."""
    return f"{folder}/{name}" if folder else name


def parent(path: str) -> str:
    """Folder of `path`, "" for the root."""
    return path.rpartition("/")[0]


def is_shown(name: str) -> bool:
    """Whether `name` is content, not an operating system's own file."""
    return not name.startswith(".") and name not in HIDDEN


def _leads_upwards(entry: os.DirEntry[str]) -> bool:
    """Whether a linked folder contains itself: following it would never end."""
    return entry.is_symlink() and Path(entry.path).parent.resolve().is_relative_to(Path(entry.path).resolve())


class LooseStore:
    """Files of a folder on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self, folder: str) -> tuple[list[str], list[File]]:
        """Sorted subfolders' names and regular files of `folder`."""
        folders, files = [], []
        try:
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    if not is_shown(entry.name):
                        continue
                    if not entry.name.isprintable():  # not UTF-8, or able to fool a terminal
                        raise MienError(f"{self.root / folder}: a file is called {entry.name!r}. Mend: rename it")
                    if entry.is_dir():
                        if not _leads_upwards(entry):
                            folders.append(entry.name)
                    elif entry.is_file():
                        stat = entry.stat()
                        files.append(File(entry.name, stat.st_size, stat.st_mtime_ns))
        except OSError as error:
            raise MienError(f"{self.root / folder}: {error.strerror}. Mend: check the path") from error
        return sorted(folders), sorted(files)

    def local(self, path: str) -> Path | None:
        """Absolute or relative place on disk of the file at the relative `path`."""
        if why := unsafe(path):
            raise MienError(f"{self.root}: {path[:120]!r} {why}. Mend: give a path below the release")
        return self.root / path

    def has(self, path: str) -> bool:
        """Whether `path` is a file below the root."""
        return (self.root / path).is_file()

    def read(self, path: str) -> bytes:
        """Bytes of the file at the relative `path`; MienError when it is larger than any image or text could be."""
        pieces, size = [], 0
        for piece in self.chunks(path):
            size += len(piece)
            if size > MAX_READ:
                raise MienError(f"{self.root / path}: larger than {MAX_READ} bytes. Mend: move it out of the release")
            pieces.append(piece)
        return b"".join(pieces)

    def chunks(self, path: str) -> Iterator[bytes]:
        """Bytes of the file at the relative `path` in pieces of at most 4 MiB."""
        place = LooseStore.local(self, path)
        assert place
        try:
            with open(place, "rb", buffering=0) as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except OSError as error:
            raise MienError(f"{place}: {error.strerror}. Mend: restore the file") from error

    def images(self, folder: str) -> Iterator[tuple[str, bytes]]:
        """Names and bytes of the images right in `folder`, sorted by name."""
        for file in self.list(folder)[1]:
            if is_image(file.name):
                yield file.name, self.read(join(folder, file.name))
