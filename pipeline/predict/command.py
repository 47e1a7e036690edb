"""`mien predict`: files in, a table and overlays out.

Every frame of a video gets a row, with a face or without; a picture gets a row for each of its faces, or one that
says there is none. Faces: `media.py`; scores: `members.py`; rows: `table.py`.
"""

import errno
import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import av
import cv2

from pipeline.core.errors import MienError
from pipeline.core.files import is_video
from pipeline.core.params import PARAMS, read_section
from pipeline.faces.detector import DetectAlign
from pipeline.faces.extract import SHORT_BY_FRAMES
from pipeline.faces.media import UnreadableMedia, stated_frames
from pipeline.predict.media import Finder, ReadyCrops, Seen, find_media
from pipeline.predict.members import SOURCES, Home, TrackModel, load_models, score
from pipeline.predict.overlay import overlay_picture, overlay_video
from pipeline.predict.table import Columns, Row, RowWriter, rows_of
from pipeline.train.fit import Finetune

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # no fault of a file
TASK_WORDS = {"expression": "expressions", "aus": "action units", "va": "valence and arousal"}


def predict_file(
    source: Path, finder: Finder | ReadyCrops, models: list[TrackModel], columns: Columns, batch: int
) -> tuple[list[Row], str]:
    """All rows of one picture, video or folder of crops, and what of it is lost ("" for nothing).

    `UnreadableMedia` when none of it can be decoded.
    """
    seen = list(finder.faces(source))
    scores = score(seen, models, batch) if any(row.face for row in seen) else {}
    return rows_of(seen, scores, columns), loss_of(source, seen)


def loss_of(source: Path, seen: list[Seen]) -> str:
    """What a damaged video has lost, in a few words."""
    frames, lost = len(seen), sum(row.lost for row in seen)
    stated = stated_frames(source) if is_video(source.name) else 0
    told = [f"{lost} of {frames} frames could not be decoded"] if lost else []
    if frames < stated - SHORT_BY_FRAMES:
        told.append(f"it ends after {frames} of the {stated} frames that it states")
    return "; ".join(told)


def tell_sources(models: list[TrackModel]) -> None:
    """Which trained ensemble answers what, and what nobody answers."""
    for model in models:
        told = f"{', '.join(TASK_WORDS[task] for task in model.fitted)}: {model.track.name}'s {', '.join(model.names)}"
        print(told + (f", {model.home.name}" if model.home.name else ""))
    silent = TASK_WORDS.keys() - {task for model in models for task in model.fitted}
    for task in sorted(silent):
        print(f"{TASK_WORDS[task]}: left out, no {' or '.join(track.upper() for track in SOURCES[task])} is trained")


def detection(models: list[TrackModel]) -> DetectAlign:
    """How the first model's faces were found; told where another's were found otherwise."""
    by_track = {m.track.name: read_section("detect_align", DetectAlign, m.home.folder / PARAMS) for m in models}
    (first, chosen), *others = by_track.items()
    for track, params in others:
        if params != chosen:
            print(f"faces are found as {first} has it in its params; {track} was trained on faces found otherwise")
    return chosen


def predict_all(
    source: Path,
    output: Path,
    overlay: Path | None,
    crops: bool = False,
    homes: Mapping[str, Home] | None = None,
    *,
    resume: bool = False,
) -> int:
    """Predict every file; what is unreadable or damaged is named and makes the exit status 1, the others are kept.

    `homes`: where the ensembles of some tracks lie; the others are this project's own. Rows are written file by file;
    `resume` goes on with the .csv of a run that was stopped.
    """
    check_places(source, output, overlay, resume)
    if crops and overlay:
        raise MienError("--overlay draws boxes, which --crops has not; leave out one of them", exit_code=2)
    media = ReadyCrops.sources(source) if crops else find_media(source)
    models = load_models(homes)
    columns = Columns.of(models)
    tell_sources(models)
    finder = ReadyCrops() if crops else Finder(detection(models))
    batch = read_section("finetune", Finetune).evaluate_batch

    def predict(path: Path) -> tuple[list[Row], str]:
        rows, fault = predict_file(path, finder, models, columns, batch)
        place = path.relative_to(source) if source.is_dir() else path.name
        lack = overlay_fault(path, rows, overlay / place) if overlay else ""
        return rows, "; ".join(part for part in (fault, lack) if part)

    writer = RowWriter(output, columns.schema(), resume)
    faulty = write_all(media, predict, writer)
    if not writer.count:
        raise MienError(f"{source}: nothing could be decoded")
    told = f"{output}: {writer.count} rows" + (f"; {faulty} of {len(media)} files have faults" if faulty else "")
    print(told + (f"; annotated copies in {overlay}" if overlay else ""))
    return 1 if faulty else 0


def write_all(media: Sequence[Path], predict: Callable[[Path], tuple[list[Row], str]], writer: RowWriter) -> int:
    """Predict and write file by file, those that the table has apart; how many of them have a fault.

    However it ends (Ctrl-C, a closed pipe), what was finished is in the table, and what is left is told.
    """
    left = deque(path for path in media if path.as_posix() not in writer.done)
    if writer.done:
        print(f"{writer.target}: has {len(media) - len(left)} of {len(media)} files, going on with the next")
    faulty = 0
    try:
        while left:
            place = f"[{len(media) - len(left) + 1}/{len(media)}] {left[0]}"
            rows, fault = tried(predict, left[0])
            writer.write(rows)
            left.popleft()
            faulty += bool(fault)
            tell_file(place, rows, fault)
    except (KeyboardInterrupt, BrokenPipeError):
        tell_left(list(left), writer)
        raise
    finally:
        writer.close()
    return faulty


def tried(predict: Callable[[Path], tuple[list[Row], str]], path: Path) -> tuple[list[Row], str]:
    """A file's rows and faults; whatever breaks on it (a decoder, an ONNX session, memory) costs this file alone."""
    try:
        return predict(path)
    except UnreadableMedia as error:
        return [], str(error)
    except BrokenPipeError:  # nobody reads what is told
        raise
    except Exception as error:
        if os.environ.get("MIEN_DEBUG") or getattr(error, "errno", None) in DISK_FULL:
            raise
        reason = getattr(error, "strerror", None) or str(error).strip() or "no reason given"
        return [], f"{type(error).__name__}: {reason.splitlines()[0][:200]}"


def overlay_fault(source: Path, rows: list[Row], target: Path) -> str:
    """Write the annotated copy of a file; why there is none, "" where there is."""
    try:
        (overlay_video if is_video(source.name) else overlay_picture)(source, rows, target)
    except (av.FFmpegError, cv2.error) as error:
        if getattr(error, "errno", None) in DISK_FULL:
            raise
        return f"no annotated copy ({str(error).strip().splitlines()[0][:200]})"
    return ""


def tell_file(place: str, rows: list[Row], fault: str) -> None:
    """A line for a file's rows, and one on standard error for its faults."""
    if fault:
        print(f"{place}: {fault}", file=sys.stderr, flush=True)
    if rows:
        print(f"{place}: {_seen(rows)}", flush=True)


def _seen(rows: list[Row]) -> str:
    """How many faces a picture shows, or how many frames of a video show one."""
    faces, frames = sum(row["found"] for row in rows), len({row["frame"] for row in rows})
    if frames > 1:
        return f"{frames} frames, {faces or 'none'} with a face"
    return f"{faces} face{'s' * (faces > 1)}" if faces else "no face"


def tell_left(left: list[Path], writer: RowWriter) -> None:
    """On standard error: what a run that was stopped has not done."""
    named = ", ".join(str(path) for path in left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    mend = "; --resume goes on" if writer.appends else ""
    print(f"stopped: {writer.target} has {writer.count} rows; left: {named or 'nothing'}{mend}", file=sys.stderr)


def check_places(source: Path, output: Path, overlay: Path | None, resume: bool) -> None:
    """Refuse what could not be written, before the first frame is decoded."""
    if output.suffix.lower() not in (".csv", ".parquet") or output.is_dir():
        raise MienError(f"--output {output}: give a .csv or .parquet file", exit_code=2)
    if output.exists() and not os.access(output, os.W_OK):
        raise MienError(f"--output {output}: may not be written; choose another", exit_code=2)
    if resume and output.suffix.lower() != ".csv":
        raise MienError("--resume goes on with a .csv; a .parquet is written at the end", exit_code=2)
    check_folder(output.parent, "--output")
    if overlay:
        if overlay.resolve() == source.resolve():
            raise MienError(f"--overlay {overlay}: holds the pictures themselves; give another folder", exit_code=2)
        check_folder(overlay, "--overlay")


def check_folder(path: Path, option: str) -> None:
    """Refuse a folder that may not be written, or that could not be made."""
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=there):  # what the mode bits say does not hold on every file system
            pass
    except OSError:
        why = "may not be written" if there.is_dir() else "is no folder"
        raise MienError(f"{option}: {there} {why}; choose another", exit_code=2) from None
