"""`mien predict`: files in, a table and overlays out.

Every frame of a video gets a row, with a face or without; a picture gets a row for each of its faces, or one that
says there is none. One file: `predictor.py`; faces: `media.py`; scores: `members.py`; rows: `table.py`, `writer.py`.
"""

import contextlib
import functools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2

from pipeline.core.errors import MienError
from pipeline.core.suffixes import is_video
from pipeline.predict.members import Home
from pipeline.predict.overlay import overlay_picture, overlay_video
from pipeline.predict.places import Places
from pipeline.predict.predictor import DISK_FULL, Predictor, listing_of, tried
from pipeline.predict.table import Row
from pipeline.predict.timeline import draw_timeline
from pipeline.predict.writer import RowWriter


def predict_all(
    source: Path,
    places: Places,
    homes: Mapping[str, Home] | None = None,
    *,
    crops: bool = False,
    people: bool = False,
) -> int:
    """Predict every file; what is unreadable or damaged is named and makes the exit status 1, the others are kept.

    `homes`: where the ensembles of some tracks lie; the others are this project's own. Rows are written file by file.
    """
    places.check(source)
    if crops and places.overlay:
        raise MienError("--overlay draws boxes, which --crops has not; leave out one of them", exit_code=2)
    if crops and people:
        raise MienError("--people follows faces, which --crops does not look for; leave out one of them", exit_code=2)
    out = sys.stdout
    with contextlib.nullcontext() if places.table else contextlib.redirect_stdout(sys.stderr):  # rows alone on it
        listing = listing_of(source, crops)
        for line in listing.passed_over():
            print(line, file=sys.stderr)
        predictor = Predictor(homes, crops=crops, people=people, progress=True)
        for line in predictor.told:
            print(line)
        columns = predictor.columns.schema()
        writer = RowWriter(places.table or out.buffer, columns, places.resume, json_lines=places.json_lines)
        faulty = write_all(listing.used, functools.partial(_file, predictor, places, source), writer)
        if not writer.count:
            raise MienError(f"{source}: nothing could be decoded")
        told = f"; {faulty} of {len(listing.used)} files have faults" if faulty else ""
        told += f"; annotated copies in {places.overlay}" if places.overlay else ""
        told += f"; timelines in {places.timeline}" if places.timeline else ""
        print(f"{writer.name}: {writer.count} rows{told}")
    return 1 if faulty else 0


def _file(predictor: Predictor, places: Places, source: Path, path: Path) -> tuple[Iterable[Row], str]:
    """A file's rows and faults; its annotated copy and its timeline lie in their folders as the file in `source`."""
    found, fault = predictor.file(path)
    if not (places.overlay or places.timeline):
        return found, fault
    rows = list(found)
    place = path.relative_to(source) if source.is_dir() else Path(path.name)
    lack = overlay_fault(path, rows, places.overlay / place) if places.overlay else ""
    if places.timeline and len({row["frame"] for row in rows}) > 1:
        draw_timeline(rows, predictor.columns, places.timeline / f"{place}.png")
    return rows, "; ".join(part for part in (fault, lack) if part)


def write_all(media: Sequence[Path], predict: Callable[[Path], tuple[Iterable[Row], str]], writer: RowWriter) -> int:
    """Predict and write file by file, those that the table has apart; how many of them have a fault.

    However it ends (Ctrl-C, a closed pipe), what was finished is in the table, and what is left is told.
    """
    left = deque(path for path in media if path.as_posix() not in writer.done)
    if writer.done:
        print(f"{writer.name}: has {len(media) - len(left)} of {len(media)} files, going on with the next")
    faulty = 0
    try:
        while left:
            place = f"[{len(media) - len(left) + 1}/{len(media)}] {left[0]}"
            rows, fault = tried(predict, left[0])
            shown = Shown()
            writer.write(shown.counted(rows))
            left.popleft()
            faulty += bool(fault)
            tell_file(place, shown, fault)
    except (KeyboardInterrupt, BrokenPipeError):
        if writer.target:
            tell_left(list(left), writer)
        raise
    finally:
        writer.close()
    return faulty


def overlay_fault(source: Path, rows: list[Row], target: Path) -> str:
    """Write the annotated copy of a file; why there is none, "" where there is."""
    try:
        (overlay_video if is_video(source.name) else overlay_picture)(source, rows, target)
    except (av.FFmpegError, cv2.error) as error:
        if getattr(error, "errno", None) in DISK_FULL:
            raise
        return f"no annotated copy ({str(error).strip().splitlines()[0][:200]})"
    return ""


@dataclass
class Shown:
    """How many faces a picture shows, or how many frames of a video show one."""

    faces: int = 0
    frames: int = 0

    def counted(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows, frame by frame, each counted as it passes."""
        last = None
        for row in rows:
            self.faces += row["found"]
            self.frames += row["frame"] != last
            last = row["frame"]
            yield row

    def __str__(self) -> str:
        if self.frames > 1:
            return f"{self.frames} frames, {self.faces or 'none'} with a face"
        return f"{self.faces} face{'s' * (self.faces > 1)}" if self.faces else "no face"


def tell_file(place: str, shown: Shown, fault: str) -> None:
    """A line for what a file shows, and one on standard error for its faults."""
    if fault:
        print(f"{place}: {fault}", file=sys.stderr, flush=True)
    if shown.frames:
        print(f"{place}: {shown}", flush=True)


def tell_left(left: list[Path], writer: RowWriter) -> None:
    """On standard error: what a run that was stopped has not done."""
    named = ", ".join(str(path) for path in left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    mend = "; --resume goes on" if writer.appends else ""
    print(f"stopped: {writer.name} has {writer.count} rows; left: {named or 'nothing'}{mend}", file=sys.stderr)
