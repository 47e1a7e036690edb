"""Cached features of several backbones side by side, joined by key."""

from collections.abc import Sequence

import numpy as np

from pipeline.tables.features import Features
from pipeline.tables.join import find_rows


class JoinedFeatures:
    """The features of each backbone one after the other, for the faces (video, frame) that all of them have seen.

    Row i of `table` has feature i of `width` numbers, whatever the order of each backbone's shards.
    """

    def __init__(self, parts: Sequence[Features]) -> None:
        self._parts = parts
        places = np.stack([find_rows(part.table, parts[0].table) for part in parts])
        shared = np.flatnonzero((places >= 0).all(axis=0))
        self.table = parts[0].table.take(shared)
        self._places = places[:, shared]
        self.width = sum(part.width for part in parts)

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """Features of rows, float16 (N, width)."""
        found = [part.rows(places[rows]) for part, places in zip(self._parts, self._places, strict=True)]
        return np.concatenate(found, axis=1)
