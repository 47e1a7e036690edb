"""`mien predict`: files in, a table and overlays out."""

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipeline.base.params import load_params
from pipeline.errors import MienError
from pipeline.faces.video import VIDEO_SUFFIXES, UnreadableMedia
from pipeline.overlay import overlay_picture, overlay_video
from pipeline.predict import Finder, find_media, load_models, predict_file, table_schema
from pipeline.publish import atomic_path


def write_rows(rows: list[dict[str, Any]], target: Path) -> None:
    """Publish rows as CSV or Parquet, by the suffix."""
    table = pa.Table.from_pylist(rows, schema=table_schema())
    with atomic_path(target) as temporary:
        if target.suffix == ".parquet":
            pq.write_table(table, temporary)
        else:
            pacsv.write_csv(table, temporary, pacsv.WriteOptions(quoting_style="needed"))


def predict_all(source: Path, output: Path, overlay: Path | None) -> int:
    """Predict every file; unreadable ones are named and make the exit status 1, the others are kept."""
    if output.suffix not in (".csv", ".parquet"):
        raise MienError(f"--output {output}: give a .csv or .parquet file", exit_code=2)
    params = load_params()
    media = find_media(source)
    models, finder = load_models(params), Finder(params)
    rows: list[dict[str, Any]] = []
    unreadable = 0
    for number, path in enumerate(media, 1):
        try:
            found = predict_file(path, finder, models, params)
        except UnreadableMedia as error:
            unreadable += 1
            print(f"{path}: {error}", file=sys.stderr)
            continue
        rows += found
        faces = sum(row["found"] for row in found)
        frames = len({row["frame"] for row in found})
        print(f"[{number}/{len(media)}] {path}: {frames} frames, {faces} faces, {len(found) - faces} rows without one")
        if overlay:
            write = overlay_video if path.suffix.lower() in VIDEO_SUFFIXES else overlay_picture
            write(path, found, overlay / (path.relative_to(source) if source.is_dir() else path.name))
    if not rows:
        raise MienError(f"{source}: nothing could be decoded")
    write_rows(rows, output)
    print(f"{output}: {len(rows)} rows" + (f"; annotated copies in {overlay}" if overlay else ""))
    return 1 if unreadable else 0
