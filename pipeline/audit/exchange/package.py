"""Files written as one archive or folder: the same bytes for the same files, and no picture or film among them."""

import re
import shutil
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import MienError
from pipeline.core.files import atomic_dir, atomic_path, below

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can tell
HEAD = 16
MEDIA: tuple[dict[int, bytes], ...] = (  # what a file starts with, by the place of each mark
    {0: b"\xff\xd8\xff"},  # JPEG
    {0: b"\x89PNG"},
    {0: b"GIF8"},
    {0: b"BM", 6: b"\x00\x00\x00\x00"},
    {0: b"II*\x00"},  # TIFF, and below
    {0: b"MM\x00*"},
    {4: b"ftyp"},  # MP4, MOV, HEIC, AVIF
    {0: b"RIFF"},  # AVI, WebP
    {0: b"\x1a\x45\xdf\xa3"},  # Matroska, WebM
    {0: b"\x00\x00\x01\xba"},  # MPEG
)
# a picture written out in a page, a drawing or a notebook; a template has the words and no picture behind them
INLINED = re.compile(
    rb"data:(?:image|video)/[a-z0-9.+-]+;base64,\s*[A-Za-z0-9+/]{32}|\"image/[a-z0-9.+-]+\":\s*\[?\s*\"[A-Za-z0-9+/]{32}"
)


@dataclass(frozen=True)
class Member:
    """A file to be written: its bytes, or where they lie on this disk."""

    source: bytes | Path
    executable: bool = False

    @property
    def data(self) -> bytes:
        """All bytes."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


def is_media(source: bytes | Path) -> bool:
    """Whether a file starts as a picture or a film does, whatever its name says."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            source = file.read(HEAD)
    return any(all(source[at : at + len(mark)] == mark for at, mark in marks.items()) for marks in MEDIA)


def shows_pictures(data: bytes) -> bool:
    """Whether a file is a picture or a film, or a text with pictures written into it."""
    return is_media(data) or INLINED.search(data) is not None


def write_archive(target: Path, members: Mapping[str, Member]) -> None:
    """Publish a zip file: names sorted, one time for all, nothing of this machine."""
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            _write_member(archive, name, members[name])


def _write_member(archive: zipfile.ZipFile, name: str, member: Member) -> None:
    info = zipfile.ZipInfo(name, EPOCH)
    info.create_system = 3  # Unix, whoever writes
    info.external_attr = (stat.S_IFREG | (0o755 if member.executable else 0o644)) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    if isinstance(member.source, bytes):
        archive.writestr(info, member.source)
        return
    with member.source.open("rb") as file, archive.open(info, "w", force_zip64=True) as out:
        shutil.copyfileobj(file, out, 1 << 20)


def write_folder(target: Path, members: Mapping[str, Member]) -> None:
    """Publish a folder; `MienError` where something lies there already."""
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise MienError(f"{target}: is there already and is not overwritten; name another place", exit_code=2)
    with atomic_dir(target) as folder:
        for name, member in members.items():
            path = below(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(member.data)
            path.chmod(0o755 if member.executable else 0o644)


def write_package(target: Path, members: Mapping[str, Member]) -> None:
    """An archive where the name ends in .zip, else a folder."""
    (write_archive if target.suffix == ".zip" else write_folder)(target, members)
