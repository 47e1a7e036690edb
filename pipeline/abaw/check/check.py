"""Is a submission byte-conformant with its template? Every defect by line, what was expected, and the mend.

The file is compared in vectorised form; only a file with defects is walked row by row.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.abaw import text
from pipeline.abaw.check import per_video, row_form
from pipeline.abaw.check.defect import MAX_DEFECTS, Defect, line_defects
from pipeline.abaw.check.neighbours import check_neighbour, neighbour_of
from pipeline.abaw.names import frame_name
from pipeline.abaw.readers import Template, read_template, recognise, split_images
from pipeline.abaw.tracks import HEADERS, TRACKS, VIDEO_HEADERS, Track
from pipeline.core.errors import MienError


def check_file(path: Path, template_path: Path | None = None, track: str | None = None) -> list[Defect]:
    """All defects of the submission at `path`, none when it is conformant.

    `path` is one file (editions 5 and later), or one or a folder of per-video text files (edition 3).
    `template_path` is the official template (or, for per-video files, the list of test videos); without it only the
    form is checked. `track` is needed only where neither template nor header tells. MienError when a file cannot be
    read or `track` contradicts the template.
    """
    if track is not None and track not in TRACKS:
        raise MienError(f"no track {track!r}. Mend: one of {', '.join(TRACKS)}", exit_code=2)
    if path.is_dir():
        return per_video.check_folder(path, template_path, track)
    data = text.read_bytes(path)
    if track is None and (other := neighbour_of(data)):
        return check_neighbour(other, data, text.read_bytes(template_path) if template_path else None)
    if text.first_line(text.normalise(data)) in VIDEO_HEADERS:
        return per_video.check_one(path, data, template_path, track)
    if template_path is None:
        return check_form(data, track)
    return check_bytes(data, track_template(template_path, track))


def track_template(path: Path, track: str | None) -> Template:
    """The template at `path`, which must be one of `track` when that is given."""
    template = read_template(path)
    if track is not None and track != template.track.name:
        raise MienError(
            f"{path} is a template of {template.track.name.upper()}, not of {track.upper()}. "
            "Mend: drop --track or give that track's template",
            exit_code=2,
        )
    return template


def check_bytes(data: bytes, template: Template) -> list[Defect]:
    """All defects of a submission's bytes against `template`."""
    defects, lines = line_defects(data, template.newline, template.header)
    if lines is None:
        return defects
    if defects or not _conforms(lines, template):
        defects += _capped(_row_defects(lines, template))
    return defects


def check_form(data: bytes, track: str | None = None) -> list[Defect]:
    """Defects of form that show without a template: header, line ends, values, names, frames 1..N of each video."""
    line = text.first_line(text.normalise(data))
    found = TRACKS[track] if track else recognise(line)
    if found is None:
        known = " | ".join(HEADERS)
        return [Defect(1, f"header {line[:100]!r} is of no known track", known, "give --template or --track")]
    defects, lines = line_defects(data, b"\n", found.header.encode() + b"\n")
    if lines is None:
        return defects
    images, values = _split(lines)
    good = pc.and_(pc.match_substring_regex(images, row_form.image_pattern(found)), _well_formed(values, found))
    bad = np.flatnonzero(~pc.fill_null(good, False).to_numpy(zero_copy_only=False))
    defects += [_form_defect(lines[int(row)].as_py(), int(row) + 2, found) for row in bad[:MAX_DEFECTS]]
    if not len(lines):
        defects.append(Defect(2, "no rows", "a row for each frame", "write the predictions"))
    if not len(bad) and found.name not in ("mtl", "lsd"):
        defects += _sequence_defects(images)
    return defects


def _form_defect(row: str, line: int, track: Track) -> Defect:
    image = row.partition(",")[0]
    if not re.search(row_form.image_pattern(track), image, re.ASCII):
        example = "0.jpg" if track.name == "lsd" else "VIDEO/00001.jpg"
        return Defect(line, f"image name {image[:60]!r}", f"a name such as {example}", "copy the names of the template")
    return _value_defect(row, image, line, track)


def _sequence_defects(images: pa.Array) -> list[Defect]:
    """Without a template: each video in one block of frames 1, 2, 3..."""
    videos, frames = split_images(images)
    codes = videos.dictionary_encode().indices.to_numpy()
    starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
    block = np.searchsorted(starts, np.arange(len(codes)), "right") - 1
    expected = np.arange(len(codes)) - starts[block] + 1
    defects = []
    for row in np.flatnonzero(frames != expected)[:MAX_DEFECTS].tolist():
        if row and codes[row] == codes[row - 1] and frames[row] == frames[row - 1] + 1:
            continue  # told at the first frame out of step
        want = f"{videos[row].as_py()}/{frame_name(int(expected[row]))}"
        defects.append(Defect(row + 2, f"row is {images[row].as_py()}", want, "write every frame from 1 on, in order"))
    return defects


def _capped(defects: Iterator[Defect]) -> list[Defect]:
    found = []
    for defect in defects:
        found.append(defect)
        if len(found) == MAX_DEFECTS:
            found.append(Defect(defect.line, "more defects follow", "a conformant file", "mend these and check again"))
            break
    return found


def _split(lines: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Image name and the text behind the first comma of each row; null where there is no comma."""
    parts = pc.extract_regex(lines, r"^(?P<image>[^,]*),(?P<values>.*)$")
    return pc.struct_field(parts, "image"), pc.struct_field(parts, "values")


def _conforms(lines: pa.Array, template: Template) -> bool:
    if len(lines) != len(template):
        return False
    images, values = _split(lines)
    if images.null_count:
        return False
    good = pc.and_(pc.equal(images, template.images), _well_formed(values, template.track))
    return bool(pc.all(good, min_count=0).as_py())


def _well_formed(values: pa.Array, track: Track) -> pa.Array:
    return pc.match_substring_regex(values, row_form.values_pattern(track))


def _row_defects(lines: pa.Array, template: Template) -> Iterator[Defect]:
    """Walk file and template side by side; a row counts as often as the template has it (MTL has duplicates)."""
    images, values = _split(lines)
    found = pc.fill_null(images, lines).to_pylist()
    good = pc.fill_null(_well_formed(values, template.track), False).to_numpy(zero_copy_only=False)
    walk = _Walk(template.images.to_pylist(), Counter(found))
    for index, image in enumerate(found):
        line = index + 2
        for lost in walk.lost_before(image):
            yield _missing(lost, line)
        expected = walk.expected()
        place = walk.take(image)
        if place == "surplus":
            yield _surplus(image, lines[index].as_py(), expected, line, image in walk.known)
        elif place == "early":
            yield Defect(line, f"row {image} is out of order", f"{expected}", "keep the template's order of rows")
        if place != "surplus" and not good[index]:
            yield _value_defect(lines[index].as_py(), image, line, template.track)
    for lost in walk.rest():
        yield _missing(lost, len(found) + 2)


class _Walk:
    """The template's rows while a file is walked: what is expected next, what came early, what will never come."""

    def __init__(self, wanted: list[str], coming: Counter[str]) -> None:
        self.wanted = wanted
        self.known = set(wanted)
        self.at = 0
        self._ahead = Counter(wanted)  # occurrences in wanted[at:]
        self._early: Counter[str] = Counter()  # of those, already met in the file
        self._coming = coming  # occurrences in the file from the current row on

    def expected(self) -> str | None:
        """The row that should come now; None when the template is at its end."""
        while self.at < len(self.wanted) and self._early[self.wanted[self.at]]:
            self._early[self.wanted[self.at]] -= 1
            self._advance()
        return self.wanted[self.at] if self.at < len(self.wanted) else None

    def _advance(self) -> None:
        self._ahead[self.wanted[self.at]] -= 1
        self.at += 1

    def lost_before(self, image: str) -> Iterator[str]:
        """Rows due before `image` that the file does not have any more."""
        while (expected := self.expected()) is not None and expected != image and self._coming[expected] <= 0:
            yield expected
            self._advance()

    def take(self, image: str) -> str:
        """Place the file's next row: "here", "early" (out of order) or "surplus" (unknown or repeated)."""
        self._coming[image] -= 1
        if image == self.expected():
            self._advance()
            return "here"
        if self._ahead[image] > self._early[image]:
            self._early[image] += 1
            return "early"
        return "surplus"

    def rest(self) -> Iterator[str]:
        """Rows still due when the file has ended."""
        while (expected := self.expected()) is not None:
            yield expected
            self._advance()


def _missing(image: str, line: int) -> Defect:
    return Defect(line, f"row of {image} is missing here", image, "write every row of the template, in its order")


def _surplus(image: str, row: str, expected: str | None, line: int, known: bool) -> Defect:
    want = expected if expected is not None else "the end of the file"
    if not row:
        return Defect(line, "empty line", want, "remove it")
    if known:
        return Defect(line, f"row of {image} is repeated", want, "write each row as often as the template has it")
    mend = "copy the image names from the template: frames count from 1, five digits, .jpg"
    return Defect(line, f"the template has no row {image[:60]!r}", want, mend)


def _value_defect(row: str, image: str, line: int, track: Track) -> Defect:
    values = row[len(image) + 1 :]
    return Defect(line, *row_form.value_defect(values, track))
