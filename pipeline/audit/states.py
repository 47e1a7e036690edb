"""The project's tracked files as a commit holds them, or as they stand in the working tree."""

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol

from pipeline.core.errors import MienError
from pipeline.run.git import run_git
from pipeline.run.outputs import folder_members


def git_bytes(*arguments: str, stdin: bytes | None = None) -> bytes:
    """What a git command says; `MienError` with its first line where it fails."""
    try:
        run = run_git(*arguments, stdin=stdin)
    except OSError:
        raise MienError("git is not installed; the history of dvc.lock cannot be read", exit_code=2) from None
    if run.returncode:
        said = (run.stderr.decode(errors="replace").splitlines() or ["no message"])[0]
        raise MienError(f"git {arguments[0]}: {said}; run from the project's root, a git repository", exit_code=2)
    return run.stdout


def git_objects(names: Iterable[str]) -> Iterator[bytes | None]:
    """The bytes of objects (`<blob>`, `<commit>:./path`) in the order asked, None for each that is not there."""
    wanted = list(names)
    if not wanted:
        return
    said = git_bytes("cat-file", "--batch", stdin="".join(f"{name}\n" for name in wanted).encode())
    place = 0
    for _ in wanted:
        end = said.index(b"\n", place)
        header = said[place:end].split()
        if header[-1] == b"missing":
            yield None
            place = end + 1
        else:
            size = int(header[-1])
            yield said[end + 1 : end + 1 + size]
            place = end + size + 2


def resolved_commit(name: str) -> str:
    """The full hash of a commit that a user names; `MienError` where git knows none."""
    return git_bytes("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").decode().strip()


class State(Protocol):
    """Files of the project at one moment; paths are from the project's root."""

    name: str
    short: str  # the name as a line of text has it

    def read(self, path: str) -> bytes | None:
        """A file's bytes; None where there is no such file."""

    def members(self, folder: str) -> dict[str, str]:
        """md5 of each tracked file below a folder by its path within it; empty where there is none."""

    def files(self, suffix: str) -> list[str]:
        """Paths of all files with a suffix."""


class Commit:
    """The files of a commit."""

    def __init__(self, commit: str) -> None:
        self.name, self.short = commit, commit[:12]

    @cached_property
    def _blobs(self) -> dict[str, str]:
        listed = git_bytes("ls-tree", "-r", "-z", self.name).decode("utf-8", "surrogateescape").split("\0")
        pairs = (line.split("\t", 1) for line in listed if line)
        return {path: facts.split()[2] for facts, path in pairs if facts.split()[1] == "blob"}

    def read(self, path: str) -> bytes | None:
        """A file's bytes."""
        return next(git_objects([self._blobs[path]])) if path in self._blobs else None

    def members(self, folder: str) -> dict[str, str]:
        """md5 of each file below a folder."""
        inside = {path: blob for path, blob in self._blobs.items() if path.startswith(f"{folder}/")}
        contents = git_objects(inside.values())
        return {
            path.removeprefix(f"{folder}/"): hashlib.md5(data or b"").hexdigest()
            for path, data in zip(inside, contents, strict=True)
        }

    def files(self, suffix: str) -> list[str]:
        """Paths of all files with a suffix."""
        return [path for path in self._blobs if path.endswith(suffix)]

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """Path and bytes of every file."""
        for path, data in zip(self._blobs, git_objects(self._blobs.values()), strict=True):
            yield path, data or b""

    def export(self, folders: Iterable[str], target: Path) -> None:
        """Write the files of some folders, and files, below `target`."""
        wanted = [path for path in self._blobs if any(path == f or path.startswith(f"{f}/") for f in folders)]
        for path, data in zip(wanted, git_objects(self._blobs[path] for path in wanted), strict=True):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(data or b"")


class WorkingTree:
    """The files that lie there now."""

    name = short = "the working tree"

    def read(self, path: str) -> bytes | None:
        """A file's bytes."""
        return Path(path).read_bytes() if Path(path).is_file() else None

    def members(self, folder: str) -> dict[str, str]:
        """md5 of each file below a folder."""
        return folder_members(Path(folder)) if Path(folder).is_dir() else {}

    def files(self, suffix: str) -> list[str]:
        """Paths of all files with a suffix that git tracks or would."""
        listed = git_bytes("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", f"*{suffix}")
        return [path for path in listed.decode("utf-8", "surrogateescape").split("\0") if path and Path(path).is_file()]
