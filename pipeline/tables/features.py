"""Cached features on disk, read by row: they stay in their shards, since at full size they are 12 GB and more."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.core.errors import MienError
from pipeline.core.pages import Column, fixed_values
from pipeline.core.parquet import read_parquet, shard_paths

FEATURE = "feature"
ITEM = np.dtype("<f2")


class Features:
    """Features below a folder (or in one shard), in the order of its shards: row i of `table` (video, frame) has
    feature i of `width` numbers.
    """

    def __init__(self, folder: Path) -> None:
        paths = shard_paths(folder)
        shards = [read_parquet(path, ["video", "frame"]) for path in paths]
        self.table: pa.Table = pa.concat_tables(shards).combine_chunks()
        self._column = Column(paths, f"{FEATURE}.list.element")
        self._ends = np.cumsum(self._column.rows)  # of each row group
        self._pages: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.width = self._read_width()

    def __len__(self) -> int:
        return len(self.table)

    def _read_width(self) -> int:
        """Numbers of a feature, the same in every row group that holds any; 1 where there is no row."""
        filled = np.flatnonzero(self._column.rows)
        return int(self._locate(int(filled[0]))[0][-1]) // int(self._column.rows[filled[0]]) if len(filled) else 1

    def _locate(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """As `fixed_values` of a row group, found once."""
        if group not in self._pages:
            self._pages[group] = fixed_values(self._column.chunk(group), ITEM.itemsize, self._column.path(group))
        return self._pages[group]

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """Features of rows, float16 (N, width). Neighbours are one read."""
        out = np.empty((len(rows), self.width), ITEM)
        groups = np.searchsorted(self._ends, rows, side="right")
        cuts = np.flatnonzero((np.diff(rows) != 1) | (np.diff(groups) != 0)) + 1
        for first, last in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            if first < last:
                group = int(groups[first])
                start = int(rows[first] - self._ends[group] + self._column.rows[group])
                out[first:last] = self._run(group, start, int(last - first))
        return out

    def _run(self, group: int, first: int, count: int) -> np.ndarray:
        """Features of `count` rows of a row group; pages may end within a row."""
        firsts, starts = self._locate(group)
        if firsts[-1] != self._column.rows[group] * self.width:
            raise MienError(f"{self._column.path(group)}: features of another length; run `dvc repro`")
        value, end = first * self.width, (first + count) * self.width
        parts = []
        while value < end:
            page = int(np.searchsorted(firsts, value, side="right")) - 1
            taken = min(end, int(firsts[page + 1])) - value
            place = int(starts[page]) + (value - int(firsts[page])) * ITEM.itemsize
            parts.append(self._column.read(group, place, taken * ITEM.itemsize))
            value += taken
        return np.frombuffer(b"".join(parts), ITEM).reshape(count, self.width)
