"""Archives read in place and safely: no path leaves the target, and count, size and ratio are bounded.

Nothing is extracted: members are listed once, refused as a whole when one is not as it should be, and read by name.
A compressed tar, which cannot be read by name, is first unpacked into one plain tar in the work folder.
"""

import bz2
import gzip
import lzma
import os
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from pipeline.abaw.names import unsafe
from pipeline.core.errors import MienError
from pipeline.core.files import atomic_path
from pipeline.core.suffixes import is_image
from pipeline.release.files import CHUNK, File, is_shown, join, parent

# What the standard library raises on damaged archives; zlib.error and struct.error are no OSErrors.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    LookupError,  # zipfile on a member without a name
    NotImplementedError,
    RuntimeError,
)
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
SEVEN_ZIP = ".7z"


@dataclass(frozen=True)
class Limits:
    """What an archive may hold. The largest official one has 2.9 million crops; raw videos take some 100 GB."""

    members: int = 4_000_000
    total_bytes: int = 1 << 40
    ratio: float = 200.0
    ratio_from_bytes: int = 256 << 20  # constant label files shrink a thousandfold: small archives may


@dataclass(frozen=True)
class Member:
    """A regular file of an archive; `stamp` changes when its content may have, `handle` finds it again."""

    path: str
    size: int
    stamp: int
    handle: object


class _Reader(Protocol):
    def members(self) -> Iterator[Member]: ...

    def chunks(self, member: Member) -> Iterator[bytes]: ...


def archive_stem(name: str) -> str | None:
    """`name` without an archive's suffix; None when it is not an archive's name."""
    for suffix in sorted((*ARCHIVES, SEVEN_ZIP), key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return None


def safe_path(name: str, archive: Path) -> str:
    """A member's name as a relative POSIX path; MienError when it could lead out of the target."""
    path = "" if name.startswith("/") else "/".join(PurePosixPath(name).parts)  # `./a//b/` is `a/b`
    if why := "is no relative path" if ":" in path.split("/")[0] else unsafe(path):  # a drive of Windows
        raise MienError(f"{archive}: member {name[:120]!r} {why}. Mend: repack the archive without it")
    return path


class ArchiveStore:
    """The files of one archive as a `Store`."""

    def __init__(self, path: Path, work: Path, limits: Limits | None = None) -> None:
        """Open and vet `path`; `work` takes the plain tar of a compressed one. MienError when unsafe or broken."""
        self.path = path
        self._limits = limits or Limits()
        self._reader = _open(path, work, self._limits)
        self._members: dict[str, Member] = {}
        self._files: dict[str, list[File]] = {}
        self._children: dict[str, set[str]] = {"": set()}
        try:
            self._index()
        except DAMAGE as error:
            raise _broken(path, error) from error

    def _index(self) -> None:
        total, folded = 0, set()
        for count, member in enumerate(self._reader.members(), start=1):
            total += member.size
            self._bound(count, total)
            if member.size < 0:
                raise _broken(self.path, "a negative size", member.path)
            path = safe_path(member.path, self.path)
            key = unicodedata.normalize("NFC", path).casefold()
            if key in folded:
                raise MienError(
                    f"{self.path}: two members are called {path!r} on some systems. Mend: repack without one"
                )
            folded.add(key)
            if all(is_shown(part) for part in path.split("/")):
                self._add(path, member)
        for path in self._members:
            if path in self._children:
                raise MienError(f"{self.path}: {path!r} is a file and a folder. Mend: repack the archive")

    def _bound(self, count: int, total: int) -> None:
        limits, size = self._limits, max(self.path.stat().st_size, 1)
        if count > limits.members:
            raise MienError(f"{self.path}: more than {limits.members} members. Mend: split the archive")
        if total > limits.total_bytes:
            raise MienError(f"{self.path}: more than {limits.total_bytes} bytes unpacked. Mend: split the archive")
        if total > limits.ratio_from_bytes and total > limits.ratio * size:
            raise MienError(
                f"{self.path}: unpacks to more than {limits.ratio:.0f} times its size, as a bomb does. "
                "Mend: unpack it yourself if you trust it, and import the folder"
            )

    def _add(self, path: str, member: Member) -> None:
        self._members[path] = member
        folder, _, name = path.rpartition("/")
        self._files.setdefault(folder, []).append(File(name, member.size, member.stamp))
        while folder:
            above = parent(folder)
            self._children.setdefault(folder, set())
            self._children.setdefault(above, set()).add(folder.rpartition("/")[2])
            folder = above

    def list(self, folder: str) -> tuple[list[str], list[File]]:
        """Sorted subfolders' names and files of `folder`."""
        return sorted(self._children.get(folder, ())), sorted(self._files.get(folder, ()))

    def local(self, path: str) -> Path | None:
        """None: a member has no place of its own on disk."""
        return None

    def has(self, path: str) -> bool:
        """Whether the archive holds the member."""
        return path in self._members

    def read(self, path: str) -> bytes:
        """Bytes of the member at `path`."""
        return b"".join(self.chunks(path))

    def chunks(self, path: str) -> Iterator[bytes]:
        """Bytes of the member in pieces; MienError when there are more or fewer than the archive declares."""
        if path not in self._members:
            raise MienError(f"{self.path}: no member {path!r}")
        member, read = self._members[path], 0
        try:
            for chunk in self._reader.chunks(member):
                read += len(chunk)
                if read > member.size:
                    break
                yield chunk
        except DAMAGE as error:
            raise _broken(self.path, error, path) from error
        if read != member.size:
            raise _broken(self.path, f"{read} bytes instead of the declared {member.size}", path)

    def images(self, folder: str) -> Iterator[tuple[str, bytes]]:
        """Names and bytes of the images right in `folder`, sorted by name."""
        for file in self.list(folder)[1]:
            if is_image(file.name):
                yield file.name, self.read(join(folder, file.name))


def _broken(path: Path, error: object, member: str = "") -> MienError:
    where = f", member {member!r}" if member else ""
    return MienError(f"{path}{where}: damaged ({error}). Mend: download it again and compare its checksum")


def _open(path: Path, work: Path, limits: Limits) -> _Reader:
    name = path.name.lower()
    if name.endswith(SEVEN_ZIP):
        raise MienError(f"{path}: 7z is not read here. Mend: unpack it and import the folder")
    try:
        if name.endswith(".zip"):
            return _Zip(path)
        if name.endswith(".tar"):
            return _Tar(path, path.stat().st_mtime_ns)
        if archive_stem(name) is not None:
            return _Tar(_plain_tar(path, work, limits), path.stat().st_mtime_ns)
    except DAMAGE as error:
        raise _broken(path, error) from error
    raise MienError(f"{path}: not an archive. Mend: one of {', '.join(ARCHIVES)}", exit_code=2)


class _Zip:
    """Members of a zip; one handle serves all threads (zipfile locks around each seek and read)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = zipfile.ZipFile(path)

    def members(self) -> Iterator[Member]:
        for info in self.file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                safe_path(info.filename, self.path)
                continue
            if kind not in (0, stat.S_IFREG):
                raise _not_regular(self.path, info.filename)
            if info.flag_bits & 1:
                raise MienError(f"{self.path}: {info.filename!r} is encrypted. Mend: unpack it and import the folder")
            yield Member(info.filename, info.file_size, info.CRC, info)

    def chunks(self, member: Member) -> Iterator[bytes]:
        assert isinstance(member.handle, zipfile.ZipInfo)
        with self.file.open(member.handle) as file:
            while chunk := file.read(CHUNK):
                yield chunk


class _Tar:
    """Members of a plain tar, read at their offsets."""

    def __init__(self, path: Path, stamp: int) -> None:
        self.path = path
        self.stamp = stamp  # the archive's own: a tar has no checksums of its members
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def members(self) -> Iterator[Member]:
        with tarfile.open(self.path, "r:") as file:
            while (info := file.next()) is not None:
                vars(file)["members"] = []  # or it would hold a kilobyte a member
                if info.isdir():
                    safe_path(info.name, self.path)
                    continue
                if not info.isreg() or info.issparse():
                    raise _not_regular(self.path, info.name)
                yield Member(info.name, info.size, self.stamp, info.offset_data)

    def chunks(self, member: Member) -> Iterator[bytes]:
        assert isinstance(member.handle, int)
        read = 0
        while chunk := os.pread(self.descriptor, min(CHUNK, member.size - read), member.handle + read):
            read += len(chunk)
            yield chunk


def _not_regular(path: Path, name: str) -> MienError:
    return MienError(f"{path}: {name!r} is a link or a device, not a regular file. Mend: repack the archive without it")


def _plain_tar(path: Path, work: Path, limits: Limits) -> Path:
    """The decompressed tar, made once in `work`, never more than the limits allow."""
    status = path.stat()
    target = work / f"{path.name}-{status.st_size}-{status.st_mtime_ns}.tar"
    if target.exists():
        return target
    with atomic_path(target) as temporary, _decompressed(path) as source, open(temporary, "wb") as sink:
        written = 0
        while chunk := source.read(CHUNK):
            written += len(chunk)
            too_dense = written > limits.ratio_from_bytes and written > limits.ratio * status.st_size
            if written > limits.total_bytes or too_dense:
                raise MienError(
                    f"{path}: unpacks to {written} bytes and more, as a bomb does. Mend: unpack it yourself"
                )
            sink.write(chunk)
    return target


def _decompressed(path: Path) -> IO[bytes]:
    name = path.name.lower()
    if name.endswith(("gz",)):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return bz2.open(path, "rb") if name.endswith("bz2") else lzma.open(path, "rb")
