"""Finding rows by (video, frame), for millions of rows."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def _keys(videos: pa.Array, frames: np.ndarray, names: pa.Array) -> np.ndarray:
    """(video, frame) as one int64; a video that is not among `names` gets a key below all others."""
    codes = pc.fill_null(pc.index_in(videos, value_set=names), -1).to_numpy().astype(np.int64)
    return (codes << 32) + frames


def find_rows(table: pa.Table, wanted: pa.Table) -> np.ndarray:
    """For each row of `wanted` the row of `table` with the same video and frame, -1 where there is none.

    Both have the columns `video` and `frame`; in `table` a pair stands once, in `wanted` as often as it likes.
    """
    if not len(table):
        return np.full(len(wanted), -1)
    names = pc.unique(table["video"])
    keys = _keys(table["video"], table["frame"].to_numpy(), names)
    order = np.argsort(keys, kind="stable")
    sought = _keys(wanted["video"], wanted["frame"].to_numpy(), names)
    found = np.minimum(np.searchsorted(keys[order], sought), len(order) - 1)
    return np.where(keys[order][found] == sought, order[found], -1)
