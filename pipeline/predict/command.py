"""`mien predict`: files in, a table and overlays out.

Every frame of a video gets a row, with a face or without; a picture gets a row for each of its faces, or one that
says there is none. Faces: `media.py`; scores: `members.py`; rows: `table.py`.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.core.errors import MienError
from pipeline.core.files import is_video
from pipeline.core.params import PARAMS, read_section
from pipeline.faces.detector import DetectAlign
from pipeline.faces.extract import SHORT_BY_FRAMES
from pipeline.faces.media import UnreadableMedia, stated_frames
from pipeline.predict.media import Finder, ReadyCrops, Seen, find_media
from pipeline.predict.members import SOURCES, Home, TrackModel, load_models, score
from pipeline.predict.overlay import overlay_picture, overlay_video
from pipeline.predict.table import Columns, Row, rows_of, write_rows
from pipeline.train.fit import Finetune

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
    source: Path, output: Path, overlay: Path | None, crops: bool = False, homes: Mapping[str, Home] | None = None
) -> int:
    """Predict every file; unreadable ones are named and make the exit status 1, the others are kept.

    `homes`: where the ensembles of some tracks lie; the others are this project's own.
    """
    if output.suffix not in (".csv", ".parquet"):
        raise MienError(f"--output {output}: give a .csv or .parquet file", exit_code=2)
    if crops and overlay:
        raise MienError("--overlay draws boxes, which --crops has not; leave out one of them", exit_code=2)
    media = ReadyCrops.sources(source) if crops else find_media(source)
    models = load_models(homes)
    columns = Columns.of(models)
    tell_sources(models)
    finder = ReadyCrops() if crops else Finder(detection(models))
    batch = read_section("finetune", Finetune).evaluate_batch
    rows: list[Row] = []
    unreadable = 0
    for number, path in enumerate(media, 1):
        try:
            found, lost = predict_file(path, finder, models, columns, batch)
        except UnreadableMedia as error:
            unreadable += 1
            print(f"{path}: {error}", file=sys.stderr)
            continue
        if lost:
            unreadable += 1
            print(f"{path}: {lost}", file=sys.stderr)
        rows += found
        faces = sum(row["found"] for row in found)
        frames = len({row["frame"] for row in found})
        told = f"frames {frames}, faces {faces}, rows without a face {len(found) - faces}"
        print(f"[{number}/{len(media)}] {path}: {told}", flush=True)
        if overlay:
            write = overlay_video if is_video(path.name) else overlay_picture
            write(path, found, overlay / (path.relative_to(source) if source.is_dir() else path.name))
    if not rows:
        raise MienError(f"{source}: nothing could be decoded")
    write_rows(rows, columns, output)
    print(f"{output}: {len(rows)} rows" + (f"; annotated copies in {overlay}" if overlay else ""))
    return 1 if unreadable else 0
