"""The file that is asked about, and the forms in which a copy of it may have been changed on its way."""

import gzip
import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import MienError

MOST_BYTES = 1 << 30  # of a member of an archive
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Form:
    """Bytes that may be a submission's, and what was undone to get them; empty for the file as it is."""

    data: bytes
    undone: str

    @property
    def md5(self) -> str:
        """DVC's digest of a file with these bytes."""
        return hashlib.md5(self.data).hexdigest()


def forms(path: Path) -> list[Form]:
    """The file as it is, then out of its archive, then with other line ends and without a byte-order mark."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MienError(f"{path}: {error.strerror}; name a submission's file", exit_code=2) from None
    outer = [Form(data, ""), *_unpacked(path, data)]
    found = {form.data: form for form in reversed([*outer, *(plain for form in outer for plain in _ends(form))])}
    return list(found.values())[::-1]


def _unpacked(path: Path, data: bytes) -> Iterator[Form]:
    """Members of a zip file, or the content of a gzip file."""
    try:
        if data.startswith(b"\x1f\x8b"):
            with gzip.open(path) as file:
                yield Form(file.read(MOST_BYTES), "unpacked from gzip")
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if not member.is_dir() and member.file_size <= MOST_BYTES:
                        yield Form(archive.read(member), f"{member.filename} of the archive")
    except (OSError, EOFError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise MienError(f"{path}: an archive that cannot be read: {str(error)[:120]}; unpack it by hand") from None


def _ends(form: Form) -> Iterator[Form]:
    """The same text with each other line end, with and without an end of the last line, without a mark."""
    text = form.data.removeprefix(BOM)
    plain = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    before = f"{form.undone}, " if form.undone else ""
    for variant, how in ((text, "a byte-order mark removed"), (plain, "line ends made LF")):
        yield Form(variant, f"{before}{how}")
    yield Form(plain.replace(b"\n", b"\r\n"), f"{before}line ends made CRLF")
    bare = plain.rstrip(b"\n")
    yield Form(bare + b"\n", f"{before}line ends made LF, one at the end")
    yield Form(bare, f"{before}line ends made LF, none at the end")
