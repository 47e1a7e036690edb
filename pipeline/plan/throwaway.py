"""A few made-up faces with labels in a folder that is thrown away: what a training is timed on before there are any.

Every system trains on them as on a team's own data, its files where they always lie; only the pictures are noise.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import simplejpeg

from pipeline.abaw.tracks import AUS, TRACKS, TRAINED_TRACKS
from pipeline.core.parquet import CROP_ROWS, array_column, write_parquet
from pipeline.core.paths import EXTRA, FACES, FEATURES, LABELS, PSEUDO, TEMPLATES
from pipeline.faces.extract import FACES_SCHEMA
from pipeline.tables.manifest import LABEL_TYPES
from pipeline.tables.pretraining import PRETRAINING, pretraining_table

TRAINING, JUDGED, TESTED = 192, 64, 16  # faces; principal components of identity need more than 128
SPLIT_ROWS = {"train": TRAINING, "validation": JUDGED, "test": TESTED}
LANDMARKS = np.array([[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]], np.float32) / 112  # of an aligned face


def make(root: Path, pixels: int, feature_widths: Mapping[str, int]) -> list[bytes]:
    """Faces of `pixels`, labels of every track, teachers' answers, and features of each backbone's width.

    Returns the crops as JPEG.
    """
    generator = np.random.default_rng(0)
    crops = [_crop(generator, pixels) for _ in range(sum(SPLIT_ROWS.values()))]
    for dataset in {*(TRACKS[track].dataset for track in TRAINED_TRACKS), EXTRA}:
        _write_faces(root, dataset, crops, pixels)
        for backbone, width in feature_widths.items():
            values = generator.normal(size=(len(crops), width)).astype(np.float16)
            table = pa.table(_keys() | {"feature": array_column(values)})
            write_parquet(root / FEATURES / backbone / dataset / "all.parquet", table)
        if dataset in (EXTRA, "lsd"):
            answers = {"aus": array_column(generator.integers(0, 2, (len(crops), len(AUS))).astype(np.int8))}
            write_parquet(root / PSEUDO / "au" / f"{dataset}.parquet", pa.table(_keys() | answers))
    for track in TRAINED_TRACKS:
        _write_axes(root, track, generator)
    videos = {"dataset": [TRACKS["lsd"].dataset] * 3, "video": list(SPLIT_ROWS), "split": list(SPLIT_ROWS)}
    write_parquet(root / PRETRAINING, pretraining_table(pa.table(videos), [TRACKS["lsd"].dataset]))
    return crops


def _crop(generator: np.random.Generator, pixels: int) -> bytes:
    """A smooth picture whose JPEG is about as large as a face's."""
    rough = generator.integers(0, 255, (12, 12, 3), dtype=np.uint8)
    smooth = cv2.resize(rough, (pixels, pixels), interpolation=cv2.INTER_CUBIC)
    noise = generator.integers(0, 16, smooth.shape, dtype=np.uint8)
    return simplejpeg.encode_jpeg(np.clip(smooth.astype(int) + noise, 0, 255).astype(np.uint8), quality=95)


def _keys() -> dict[str, Any]:
    """Video and frame of every crop: a video for each split."""
    return {
        "video": [split for split, rows in SPLIT_ROWS.items() for _ in range(rows)],
        "frame": pa.array([frame for rows in SPLIT_ROWS.values() for frame in range(1, rows + 1)], pa.int32()),
    }


def _write_faces(root: Path, dataset: str, crops: list[bytes], pixels: int) -> None:
    keys = _keys()
    columns = keys | {
        "image": [f"{frame:05d}.jpg" for frame in keys["frame"].to_pylist()],
        "found": [True] * len(crops),
        "score": [1.0] * len(crops),
        "box": [np.zeros(4, np.float32)] * len(crops),  # ready crops
        "landmarks": [(LANDMARKS * pixels).reshape(-1)] * len(crops),
        "jpeg": crops,
    }
    write_parquet(root / FACES / dataset / "all.parquet", pa.table(columns, schema=FACES_SCHEMA), CROP_ROWS)


def _write_axes(root: Path, track: str, generator: np.random.Generator) -> None:
    keys = _keys()
    table = pa.table({"split": keys["video"], "video": keys["video"], "base_video": keys["video"]})
    table = table.append_column("frame", keys["frame"])
    table = table.append_column("ordinal", pa.array(np.arange(len(table)), pa.int32()))
    table = table.append_column("image", pa.array([f"{frame:05d}.jpg" for frame in keys["frame"].to_pylist()]))
    rows = len(table)
    labels: dict[str, Any] = {
        "expression": (np.arange(rows) % max(1, len(TRACKS[track].classes))).tolist(),
        "aus": generator.integers(0, 2, (rows, len(AUS))).tolist(),
        "va": generator.uniform(-1, 1, (rows, 2)).tolist(),
    }
    for task in TRACKS[track].tasks:
        table = table.append_column(task, pa.array(labels[task], LABEL_TYPES[task]))
    tested = rows - TESTED
    write_parquet(root / LABELS / f"{track}.parquet", table.slice(0, tested))
    write_parquet(root / TEMPLATES / f"{track}.parquet", table.slice(tested).select(table.column_names[:6]))
