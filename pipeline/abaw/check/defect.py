"""Defects of a submission file, and those that show in its bytes whatever its rows: encoding, header, line ends."""

from dataclasses import dataclass

import pyarrow as pa

from pipeline.abaw import text
from pipeline.abaw.readers import recognise

MAX_DEFECTS = 10_000  # a wholly wrong file of a million rows needs no million objects to say so


@dataclass(frozen=True)
class Defect:
    """One reason why a file is not conformant, at a 1-based line; `path` says which file of a folder."""

    line: int
    message: str
    expected: str
    mend: str
    path: str = ""


def line_defects(data: bytes, newline: bytes, header: bytes) -> tuple[list[Defect], pa.Array | None]:
    """Defects of encoding, line ends and header, and the rows behind the header (None when it is no text)."""
    problem = text.encoding_problem(data)
    if problem:
        return [Defect(problem.line, problem.message, "UTF-8 text without BOM", problem.mend)], None
    defects = _header_defects(data, header)
    defects += _newline_defects(data, newline)
    body = data.removeprefix(text.BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n").partition(b"\n")[2]
    if body and not body.endswith(b"\n"):
        line = data.count(b"\n") + 1
        defects.append(Defect(line, "the last line has no line end", "one line end after the last row", "add it"))
    return defects, text.split_lines(body.removesuffix(b"\n")) if body.strip(b"\n") else _blank_lines(body)


def _blank_lines(body: bytes) -> pa.Array:
    return pa.array([""] * body.count(b"\n"), pa.string())


def _header_defects(data: bytes, header: bytes) -> list[Defect]:
    if data.startswith(header):
        return []
    expected = header.removeprefix(text.BOM).rstrip(b"\r\n").decode()
    if data.startswith(text.BOM) and not header.startswith(text.BOM):
        mend = "save as UTF-8 without BOM"
        return [
            Defect(1, "the file starts with a byte order mark", "no BOM", mend),
            *_header_defects(data[3:], header),
        ]
    line = text.first_line(text.normalise(data))
    if line == expected and header.startswith(text.BOM) == data.startswith(text.BOM):
        return []  # only the line end differs, which is reported once for the file
    other = recognise(line)
    what = (
        f"the header of {other.name.upper()}"
        if other and line.strip() == line != expected
        else f"header {line[:100]!r}"
    )
    return [Defect(1, what, expected, "copy line 1 of the template byte for byte")]


def _newline_defects(data: bytes, newline: bytes) -> list[Defect]:
    names = {b"\n": "LF", b"\r\n": "CRLF", b"\r": "CR"}
    pairs = data.count(b"\r\n")
    counts = {b"\r\n": pairs, b"\n": data.count(b"\n") - pairs, b"\r": data.count(b"\r") - pairs}
    defects = []
    for end, count in counts.items():
        if end != newline and count:
            line = data.count(b"\n", 0, _find_end(data, end)) + 1
            message = f"{count} lines end with {names[end]}, the first here"
            mend = f"write lines that end with {names[newline]}, as the template's do"
            defects.append(Defect(line, message, names[newline], mend))
    return defects


def _find_end(data: bytes, end: bytes) -> int:
    """Offset of the first line end that is exactly `end`."""
    position = data.find(end)
    while (end == b"\n" and data[position - 1 : position] == b"\r") or (
        end == b"\r" and data[position + 1 : position + 2] == b"\n"
    ):
        position = data.find(end, position + 1)
    return position
