"""Files of the challenge's other tracks, which Mien does not make and can check: AH, EMI and VD.

Forms of editions 6 to 11. AH (ambivalence and hesitancy) has no header and names a video, since edition 10, or one of
its frames (edition 8); its two probabilities must sum to one exactly, as the organisers' own validator asks. EMI
(emotional mimicry intensity) has six intensities a video, VD (violence) a label a frame in a file a video.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.abaw import text
from pipeline.abaw.check.defect import MAX_DEFECTS, Defect

EMI_HEADER = "Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy"
VD_HEADER = "Frame_Number,Label"
AH_ROW = re.compile(r"[^,]+/[^,]+\.mp4(/frame-\d+\.jpg)?(,[^,]*){1,3}", re.IGNORECASE)
LABELS = ("0", "1")


@dataclass(frozen=True)
class Neighbour:
    """A track: its name, its header ("" for none), and what is wrong with the values of a row, if anything."""

    name: str
    header: str
    form: str
    fault: Callable[[int, list[str]], str | None]


def _ah_fault(_: int, values: list[str]) -> str | None:
    *pair, label = values
    if label not in LABELS:
        return f"the label is {label!r}, not 0 or 1"
    if not pair:
        return None
    if len(pair) != 2:
        return "one probability and a label"
    numbers = [_number(value) for value in pair]
    if not all(0 <= number <= 1 for number in numbers):
        return f"{','.join(pair)} are no probabilities"
    return None if sum(numbers) == 1.0 else f"{pair[0]} and {pair[1]} sum to {sum(numbers)!r}, not to 1.0 exactly"


def _emi_fault(_: int, values: list[str]) -> str | None:
    if len(values) != 6:
        return f"{len(values)} values"
    bad = [value for value in values if not math.isfinite(_number(value))]
    return f"{bad[0]!r} is no number" if bad else None


def _vd_fault(row: int, values: list[str]) -> str | None:
    return None if len(values) == 1 and values[0] in LABELS else f"the label is {','.join(values)!r}, not 0 or 1"


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


AH = Neighbour("AH", "", "VIDEO.mp4,p0,p1,label or VIDEO.mp4,label", _ah_fault)
EMI = Neighbour("EMI", EMI_HEADER, "FILE and six numbers", _emi_fault)
VD = Neighbour("VD", VD_HEADER, "frame,0 or frame,1, frames counted from 1", _vd_fault)


def neighbour_of(data: bytes) -> Neighbour | None:
    """The track whose file this is, by its first line; None where it is none of these."""
    first = text.first_line(text.normalise(data)).strip()
    if first in (EMI_HEADER, VD_HEADER):
        return EMI if first == EMI_HEADER else VD
    return AH if AH_ROW.fullmatch(first) else None


def check_neighbour(track: Neighbour, data: bytes, template: bytes | None = None) -> list[Defect]:
    """Defects of a file's form, and of its names and their order where a template is given."""
    problem = text.encoding_problem(data)
    if problem:
        return [Defect(problem.line, problem.message, "UTF-8 text without BOM", problem.mend)]
    defects = [] if data.endswith(b"\n") else [Defect(0, "the last line has no line end", "one", "add it")]
    if b"\r" in data:
        defects.append(Defect(0, "line ends are not \\n alone", "\\n", "save with Unix line ends"))
    rows = _rows(track, data)
    found = [*_faults(track, rows)]
    if template is not None:
        found += _names(track, rows, _rows(track, template))
    return defects + found[:MAX_DEFECTS]


def _rows(track: Neighbour, data: bytes) -> list[str]:
    """The rows behind the header, without their ends."""
    lines = data.decode("utf-8-sig", "replace").replace("\r\n", "\n").removesuffix("\n").split("\n")
    return lines[1:] if track.header else lines


def _faults(track: Neighbour, rows: list[str]) -> Iterator[Defect]:
    first = 2 if track.header else 1
    seen: dict[str, int] = {}
    for number, row in enumerate(rows):
        line = number + first
        name, *values = row.split(",")
        if " " in row and track is AH:
            yield Defect(line, "a space in the row", track.form, "remove it")
        if not name or not values:
            yield Defect(line, f"{row[:80]!r} is no row", track.form, "give every row its values")
        elif name in seen:
            yield Defect(line, f"{name} stands in line {seen[name]} already", "each once", "remove one of them")
        elif track is VD and name != str(number + 1):
            yield Defect(line, f"frame {name}", f"frame {number + 1}", "a row for every frame, in order")
        elif fault := track.fault(number, values):
            yield Defect(line, fault, track.form, "mend the values")
        seen.setdefault(name, line)


def _names(track: Neighbour, rows: list[str], wanted: list[str]) -> Iterator[Defect]:
    first = 2 if track.header else 1
    if len(rows) != len(wanted):
        yield Defect(0, f"{len(rows)} rows", f"{len(wanted)}", "a row for each of the template's, in its order")
    for number, (row, other) in enumerate(zip(rows, wanted, strict=False)):
        name, expected = row.split(",")[0], other.split(",")[0]
        if name != expected:
            yield Defect(number + first, f"{name[:80]!r}", expected, "keep the template's order")
            return
