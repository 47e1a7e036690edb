"""`mien predict`: files in, a table and overlays out.

Every frame of a video gets a row, with a face or without; a picture gets a row for each of its faces, or one that
says there is none. Faces: `media.py`; scores: `members.py`; rows: `table.py`.
"""

import sys
from pathlib import Path
from typing import Any

from pipeline.core.errors import MienError
from pipeline.core.files import is_video
from pipeline.core.params import read_section
from pipeline.faces.detector import DetectAlign
from pipeline.faces.media import UnreadableMedia
from pipeline.predict.media import Finder, find_media
from pipeline.predict.members import TrackModel, load_models, score
from pipeline.predict.overlay import overlay_picture, overlay_video
from pipeline.predict.table import rows_of, write_rows
from pipeline.train.fit import Finetune


def predict_file(source: Path, finder: Finder, models: list[TrackModel], batch: int) -> list[dict[str, Any]]:
    """All rows of one picture or video; `UnreadableMedia` when it cannot be decoded."""
    seen = list(finder.faces(source))
    if not seen:
        raise UnreadableMedia("no frame could be decoded")
    thresholds = next(model.fitted.au_thresholds for model in models if model.task == "aus")
    scores = score(seen, models, batch) if any(row.face for row in seen) else {}
    return rows_of(seen, scores, thresholds)


def predict_all(source: Path, output: Path, overlay: Path | None) -> int:
    """Predict every file; unreadable ones are named and make the exit status 1, the others are kept."""
    if output.suffix not in (".csv", ".parquet"):
        raise MienError(f"--output {output}: give a .csv or .parquet file", exit_code=2)
    media = find_media(source)
    models, finder = load_models(), Finder(read_section("detect_align", DetectAlign))
    batch = read_section("finetune", Finetune).evaluate_batch
    rows: list[dict[str, Any]] = []
    unreadable = 0
    for number, path in enumerate(media, 1):
        try:
            found = predict_file(path, finder, models, batch)
        except UnreadableMedia as error:
            unreadable += 1
            print(f"{path}: {error}", file=sys.stderr)
            continue
        rows += found
        faces = sum(row["found"] for row in found)
        frames = len({row["frame"] for row in found})
        print(f"[{number}/{len(media)}] {path}: {frames} frames, {faces} faces, {len(found) - faces} rows without one")
        if overlay:
            write = overlay_video if is_video(path.name) else overlay_picture
            write(path, found, overlay / (path.relative_to(source) if source.is_dir() else path.name))
    if not rows:
        raise MienError(f"{source}: nothing could be decoded")
    write_rows(rows, output)
    print(f"{output}: {len(rows)} rows" + (f"; annotated copies in {overlay}" if overlay else ""))
    return 1 if unreadable else 0
