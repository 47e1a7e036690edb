"""Official text files as bytes: universal newlines, BOM, lines as an Arrow array, problems by line."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import MienError

BOM = b"\xef\xbb\xbf"
MAX_TEXT_BYTES = 1 << 30  # the largest official file is 30 MB


@dataclass(frozen=True)
class Problem:
    """Something wrong at a 1-based line of a text file, and how to mend it."""

    line: int
    message: str
    mend: str

    def error(self, path: Path | str) -> MienError:
        """The problem as the one-line error a user sees."""
        return MienError(f"{path}, line {self.line}: {self.message}. Mend: {self.mend}")


def read_bytes(path: Path) -> bytes:
    """Bytes of a text file; MienError when it cannot be read or is larger than any official file could be."""
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise MienError(f"{path}: {size} bytes is no annotation file. Mend: point to the official text file")
        return path.read_bytes()
    except OSError as error:
        raise MienError(f"{path}: {error.strerror}. Mend: check the path and its permissions") from error


def normalise(data: bytes) -> bytes:
    """`data` without BOM, with LF line ends (from LF, CRLF, CR) and none after the last line."""
    data = data.removeprefix(BOM)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data.rstrip(b"\n")


def encoding_problem(data: bytes) -> Problem | None:
    """The first byte that is not UTF-8 or is NUL, as a problem; None when there is none."""
    mend = "save the file as UTF-8 text"
    nul = data.find(b"\0")
    if nul >= 0:
        return Problem(data.count(b"\n", 0, nul) + 1, "NUL byte: not a text file, or UTF-16", mend)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return Problem(data.count(b"\n", 0, error.start) + 1, f"byte 0x{data[error.start]:02x} is not UTF-8", mend)
    return None


def split_lines(data: bytes) -> pa.Array:
    """Lines of valid UTF-8 `data` with LF line ends, as a string array without them; b"" has no lines."""
    if not data:
        return pa.array([], pa.string())
    buffer = np.frombuffer(data + b"\n", np.uint8)
    ends = np.flatnonzero(buffer == 0x0A) + 1
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    with_ends = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(buffer))
    return pc.utf8_rtrim(with_ends, "\n")


def first_line(data: bytes) -> str:
    """Line 1 of normalised `data`, for recognising a header; undecodable bytes are replaced."""
    return data[: data.find(b"\n") if b"\n" in data else len(data)].decode("utf-8", "replace")
