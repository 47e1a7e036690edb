"""Readers of the official annotation files, MTL lists and test-set templates.

A reader parses the whole file in vectorised form; only a file that does not parse is walked line by line, to
say which line is wrong. `scan_*` return every problem they find; the caller decides which of them stops it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from pipeline.abaw import text
from pipeline.abaw.names import MAX_FRAME, unsafe
from pipeline.abaw.text import Problem
from pipeline.abaw.tracks import (
    AUS,
    EXPRESSIONS,
    HEADERS,
    INVALID_CLASS,
    INVALID_VA,
    TRACKS,
    VIDEO_HEADERS,
    Field,
    Track,
)

MAX_PROBLEMS = 100  # per file: a file of another kind would otherwise yield one per row

MTL_SCHEMA = pa.schema(
    [
        pa.field("image", pa.string()),
        pa.field("valence", pa.float32()),
        pa.field("arousal", pa.float32()),
        pa.field("expression", pa.int8()),
        pa.field("aus", pa.list_(pa.int8(), len(AUS))),
    ]
)


@dataclass(frozen=True)
class Template:
    """A test-set template: the axis of every prediction.

    `header` holds the bytes of line 1 as they stand in the file, BOM and line end included. `images` has one
    entry a row, in the file's order, duplicates kept. `trailing_comma` tells rows like `VIDEO/00001.jpg,`.
    """

    track: Track
    header: bytes
    images: pa.StringArray
    trailing_comma: bool

    @property
    def newline(self) -> bytes:
        """How the template's lines end."""
        return b"\r\n" if self.header.endswith(b"\r\n") else self.header[-1:]

    def __len__(self) -> int:
        return len(self.images)

    def videos(self) -> pa.StringArray:
        """Video of each row; "" where the image stands in no folder (LSD)."""
        return split_images(self.images)[0]

    def frames(self) -> np.ndarray:
        """Frame number of each row, int32 (LSD: the number in the image's name, from 0)."""
        return split_images(self.images)[1]


def split_images(images: pa.StringArray) -> tuple[pa.StringArray, np.ndarray]:
    """`VIDEO/00001.jpg` to video names and int32 frame numbers, -1 where the name holds no number."""
    parts = pc.extract_regex(images, r"^(?:(?P<video>.*)/)?(?P<name>[^/]*)$")
    digits = pc.extract_regex(pc.struct_field(parts, "name"), r"^(?P<frame>[0-9]{1,9})\.[A-Za-z]+$")
    frames = pc.cast(pc.struct_field(digits, "frame"), pa.int32())
    return pc.struct_field(parts, "video"), pc.fill_null(frames, -1).to_numpy(zero_copy_only=False)


PLAIN_IMAGE = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99})?$"


def image_problems(images: pa.StringArray, first_line: int) -> list[Problem]:
    """Image names of a list that must not become paths, and frames that no video has; `first_line` is that of row 0."""
    plain = pc.match_substring_regex(images, PLAIN_IMAGE).to_numpy(zero_copy_only=False)
    frames = split_images(images)[1]
    problems = []
    for row in np.flatnonzero(~plain | (frames > MAX_FRAME)).tolist():  # few, or none: the official names are plain
        name = images[row].as_py()
        why = unsafe(name) if name else "no image name"
        if why is None and frames[row] > MAX_FRAME:
            why = f"is frame {frames[row]}, beyond {MAX_FRAME}"
        if why:
            message = f"{name[:80]!r} {why}" if name else why
            problems.append(Problem(first_line + row, message, "take the list from the official release again"))
        if len(problems) == MAX_PROBLEMS:
            break
    return problems


# --- per-video annotation files ---------------------------------------------------------------------------


def scan_annotation(data: bytes, track: Track) -> tuple[np.ndarray, list[Problem]]:
    """Values, float64 of shape (frames, columns), and the problems of a per-video annotation file.

    Rows that do not parse are NaN, so that row i stays frame i + 1.
    """
    data = text.normalise(data)
    problem = text.encoding_problem(data)
    if problem:
        return np.zeros((0, track.columns)), [problem]
    problems = _header_problems(text.first_line(data), track)
    body = data.partition(b"\n")[2]
    first = 2
    if problems and _parses(text.first_line(data), track):  # there is no header at all: line 1 is frame 1
        body, first = data, 1
    values, row_problems = _scan_values(body, track.fields, first)
    return values, problems + row_problems


def _header_problems(line: str, track: Track) -> list[Problem]:
    assert track.video_header
    if [part.strip() for part in line.split(",")] == track.video_header.split(","):
        return []
    known = VIDEO_HEADERS.get(line)
    what = f"the header of {known.name.upper()}" if known else f"header {line[:80]!r}"
    return [Problem(1, f"{what} in a file of {track.name.upper()}", f"line 1 must read {track.video_header}")]


def _parses(line: str, track: Track) -> bool:
    return not _value_problems(line, track.fields, 1)


def _scan_values(body: bytes, fields: tuple[Field, ...], first_line: int) -> tuple[np.ndarray, list[Problem]]:
    """Values of comma-separated numeric rows; `first_line` is the line number of row 0."""
    if not body:
        return np.zeros((0, len(fields))), []
    try:
        table = _parse_csv(body, [f"c{i}" for i in range(len(fields))])
        values = np.column_stack([column.to_numpy() for column in table.columns])
        bad = np.flatnonzero(~_in_range(values, fields).all(axis=1))
        if not len(bad):
            return values, []
        values[bad], bad = np.nan, bad[:MAX_PROBLEMS]
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        values, bad = None, None
    return _walk_values(body, fields, first_line, values, bad)


def _walk_values(
    body: bytes, fields: tuple[Field, ...], first_line: int, values: np.ndarray | None, bad: np.ndarray | None
) -> tuple[np.ndarray, list[Problem]]:
    """The slow way, taken only for a broken file: say for each bad row what is wrong."""
    lines = body.decode("utf-8").split("\n")
    rows = range(len(lines)) if bad is None else [int(i) for i in bad]
    if values is None:
        values = np.full((len(lines), len(fields)), np.nan)
    problems: list[Problem] = []
    for row in rows:
        found = _value_problems(lines[row], fields, first_line + row)
        problems += found
        values[row] = np.nan if found else [float(part) for part in lines[row].split(",")]
    return values, problems[:MAX_PROBLEMS]


def _parse_csv(body: bytes, names: list[str], strings: tuple[str, ...] = ()) -> pa.Table:
    types = {name: pa.string() if name in strings else pa.float64() for name in names}
    return pacsv.read_csv(
        pa.BufferReader(body),
        read_options=pacsv.ReadOptions(column_names=names, use_threads=True),
        parse_options=pacsv.ParseOptions(quote_char=False, ignore_empty_lines=False),
        convert_options=pacsv.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False),
    )


def _in_range(values: np.ndarray, fields: tuple[Field, ...], classes: int = len(EXPRESSIONS)) -> np.ndarray:
    """Which values, shape (rows, columns), an annotation may hold: the official range or the invalid mark."""
    good = np.empty(values.shape, bool)
    for column, field in enumerate(fields):
        value = values[:, column]
        if field == "score":
            good[:, column] = (np.abs(value) <= 1) | (value == INVALID_VA)
        else:
            top = 1 if field == "binary" else classes - 1
            good[:, column] = (value >= INVALID_CLASS) & (value <= top) & (value == np.round(value))
    return good


ALLOWED: dict[Field, str] = {
    "class": "an integer 0-7, or -1 for invalid",
    "binary": "0, 1, or -1 for invalid",
    "score": "a number in [-1, 1], or -5 for invalid",
}


def _value_problems(line: str, fields: tuple[Field, ...], number: int) -> list[Problem]:
    """What is wrong with one row of values."""
    if not line.strip():
        return [Problem(number, "empty line", "remove it: it would shift every frame behind it")]
    parts = line.split(",")
    if len(parts) != len(fields):
        return [Problem(number, f"{len(parts)} values, expected {len(fields)}", f"a row has {len(fields)} values")]
    problems = []
    for column, (part, field) in enumerate(zip(parts, fields, strict=True)):
        try:
            value = float(part) if "_" not in part else np.nan
        except ValueError:
            value = np.nan
        if not _in_range(np.array([[value]]), (field,)).all():
            problems.append(Problem(number, f"value {column + 1} is {part[:40]!r}", f"write {ALLOWED[field]}"))
    return problems


# --- MTL lists --------------------------------------------------------------------------------------------


def scan_mtl(data: bytes) -> tuple[pa.Table, list[Problem]]:
    """Table of MTL_SCHEMA and the problems of an MTL annotation list (5 header names, 16 fields a row).

    A broken row keeps its image and is marked invalid in every task; order and exact duplicate rows are kept.
    """
    track = TRACKS["mtl"]
    data = text.normalise(data)
    problem = text.encoding_problem(data)
    if problem:
        return MTL_SCHEMA.empty_table(), [problem]
    header, _, body = data.partition(b"\n")
    problems = []
    if [part.strip() for part in header.decode().split(",")] != track.header.split(","):
        problems.append(Problem(1, f"header {header[:80].decode('utf-8', 'replace')!r}", f"must read {track.header}"))
    images, rest = _split_first(text.split_lines(body))
    body = "\n".join(rest.to_pylist()).encode()
    if body.endswith(b"\n"):  # an image alone in the last line: Arrow would take its row for the end of the text
        values, row_problems = _walk_values(body, track.fields, 2, None, None)
    else:
        values, row_problems = _scan_values(body, track.fields, 2)
    return _mtl_table(images, values), problems + image_problems(images, first_line=2) + row_problems


def _split_first(lines: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Text before and after the first comma of each line ("" when there is none)."""
    parts = pc.extract_regex(lines, r"^(?P<image>[^,]*),?(?P<rest>.*)$")
    return pc.struct_field(parts, "image"), pc.struct_field(parts, "rest")


def _mtl_table(images: pa.Array, values: np.ndarray) -> pa.Table:
    scores = np.where(np.isnan(values[:, :2]), INVALID_VA, values[:, :2]).astype(np.float32)
    classes = np.where(np.isnan(values[:, 2:]), INVALID_CLASS, values[:, 2:]).astype(np.int8)
    aus = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(classes[:, 1:]).ravel()), len(AUS))
    columns = [images, pa.array(scores[:, 0]), pa.array(scores[:, 1]), pa.array(classes[:, 0]), aus]
    return pa.Table.from_arrays(columns, schema=MTL_SCHEMA)


# --- templates --------------------------------------------------------------------------------------------


def recognise(line: str) -> Track | None:
    """The track whose submission header is `line`, or None."""
    return HEADERS.get(line.strip())


def parse_template(data: bytes, path: Path | str) -> Template:
    """Template from the bytes of a test list, a `*_test_set_sample.txt` or a `*_test_set_example.txt`."""
    problem = text.encoding_problem(data)
    if problem:
        raise problem.error(path)
    body = text.normalise(data)
    track = recognise(text.first_line(body))
    if track is None:
        known = "; ".join(HEADERS)
        raise Problem(
            1, f"header {text.first_line(body)[:80]!r} is of no known track", f"it must be one of: {known}"
        ).error(path)
    images, rest = _split_first(text.split_lines(body.partition(b"\n")[2]))
    if problems := image_problems(images, first_line=2):
        raise problems[0].error(path)
    return Template(track, _header_bytes(data), images, len(rest) > 0 and body.endswith(b","))


def _header_bytes(data: bytes) -> bytes:
    """Line 1 with its line end, as it stands in the file; a file of one unended line gets an LF."""
    match = re.match(rb"[^\r\n]*(\r\n|\n|\r)?", data)
    assert match
    return match.group() if match.group(1) else match.group() + b"\n"


def read_template(path: Path) -> Template:
    """The template at `path`; MienError with line and mend when it is none."""
    return parse_template(text.read_bytes(path), path)
