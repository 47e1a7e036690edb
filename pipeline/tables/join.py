"""Rows of two tables that belong together, for millions of rows: by key, never by position.

`find_rows` by (video, frame): faces and features, of which a frame has one. `find_listed` and `align` by (video, frame,
ordinal): the rows of an official list, which has exact duplicates.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import MienError


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


def _sorted_keys(table: pa.Table, names: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The order of a table's rows by (video, frame, ordinal), and those keys (rows, 2) in that order."""
    keys = _keys(table["video"], table["frame"].to_numpy().astype(np.int64), names)
    ordinals = table["ordinal"].to_numpy().astype(np.int64)
    order = np.lexsort((ordinals, keys))
    return order, np.stack([keys[order], ordinals[order]], axis=1)


def find_listed(table: pa.Table, wanted: pa.Table) -> np.ndarray:
    """For each row of `wanted` the row of `table` with the same video, frame and ordinal, -1 where there is none."""
    keys = ["video", "frame", "ordinal"]
    left, right = (
        side.select(keys).append_column(name, pa.array(np.arange(len(side))))
        for side, name in ((wanted, "wanted"), (table, "row"))
    )
    joined = left.join(right, keys, join_type="left outer")
    rows = np.empty(len(wanted), np.int64)
    rows[joined["wanted"].to_numpy()] = pc.fill_null(joined["row"], -1).to_numpy()
    return rows


def align(axis: pa.Table, table: pa.Table, what: str) -> np.ndarray:
    """For each row of `axis` its row of `table`, by (video, frame, ordinal); both hold each key once and the same keys.

    Raises `MienError` with `what` and how many rows are missing, surplus or repeated.
    """
    names = pc.unique(pa.chunked_array([*axis["video"].chunks, *table["video"].chunks], pa.string()))
    (axis_order, wanted), (table_order, found) = (_sorted_keys(side, names) for side in (axis, table))
    if len(wanted) == len(found) and (wanted == found).all() and not _repeated(wanted):
        rows = np.empty(len(axis), np.int64)
        rows[axis_order] = table_order
        return rows
    pairs = [set(map(tuple, keys.tolist())) for keys in (wanted, found)]
    missing, surplus = len(pairs[0] - pairs[1]), len(pairs[1] - pairs[0])
    raise MienError(
        f"{what}: not the rows of its list: {missing} are missing, {surplus} are not on it, "
        f"{_repeated(wanted) + _repeated(found)} are repeated; run `dvc repro`"
    )


def _repeated(keys: np.ndarray) -> int:
    """How many sorted keys (rows, 2) stand once more than once."""
    return int((keys[1:] == keys[:-1]).all(axis=1).sum())
