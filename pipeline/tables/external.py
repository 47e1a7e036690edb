"""An imported set of labelled faces as tables: its labels keyed as faces are, and what to look for faces in.

A picture has no frame number: its `video` is its folder and its `frame` the 1-based rank of its name there, as for LSD
and the pool.
"""

from pathlib import Path

import pyarrow as pa

from pipeline.core.errors import MienError
from pipeline.core.parquet import read_parquet
from pipeline.core.suffixes import is_image
from pipeline.release.external import TABLE
from pipeline.release.files import parent
from pipeline.release.pack import PackStore
from pipeline.tables.manifest import MediaItem, ranges

TOP = "top"  # the folder of pictures that lie in no folder: a shard needs a name


def external_labels(root: Path) -> pa.Table:
    """Labels of the pack at `root`, with video, frame and ordinal; `MienError` for a picture that is not there."""
    table = read_parquet(root / TABLE)
    images, store = table["image"].to_pylist(), PackStore(root)
    ranks = {
        folder: {name: rank for rank, name in enumerate(_names(store, folder), 1)}
        for folder in set(map(parent, images))
    }
    frames = []
    for image in images:
        rank = ranks[parent(image)].get(image.rpartition("/")[2])
        if rank is None:
            raise MienError(f"{root}: {image} has labels and is not there; run `mien data import` again")
        frames.append(rank)
    keys = {
        "video": pa.array([parent(image) or TOP for image in images], pa.string()),
        "frame": pa.array(frames, pa.int32()),
        "ordinal": pa.array([frame - 1 for frame in frames], pa.int32()),
    }
    return pa.table(keys | {name: table[name] for name in table.column_names})


def external_items(name: str, root: Path, labels: pa.Table, faces: str) -> list[MediaItem]:
    """Every folder that holds labelled pictures, in ranges; `faces` tells whether these are aligned or whole."""
    kind = "aligned" if faces == "aligned" else "pictures"
    folders, store = sorted({parent(image) for image in labels["image"].to_pylist()}), PackStore(root)
    items = (ranges(name, folder, kind, len(_names(store, folder)), folder or TOP) for folder in folders)
    return [item for part in items for item in part]


def _names(store: PackStore, folder: str) -> list[str]:
    return [file.name for file in store.list(folder)[1] if is_image(file.name)]
