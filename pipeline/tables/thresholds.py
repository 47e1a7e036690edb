"""Thresholds of action units, from how many rows lie at or above each candidate.

Rows are counted once into the intervals between candidates; F1 at any of them is then a matter of cumulative counts,
for all rows or for any choice of parts (folds).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.abaw.sums import f1

CHUNK_ROWS = 8192  # of a pass over scores: what stays in a core's cache


@dataclass(frozen=True)
class UnitCounts:
    """Of each part and unit: active rows (parts, units); (parts, thresholds, units) rows at or above, active ones."""

    active: np.ndarray
    above: np.ndarray
    hits: np.ndarray

    def of(self, times: np.ndarray) -> "UnitCounts":
        """Of a choice of parts (parts,): how often each counts."""
        return UnitCounts(*(np.tensordot(times, counts, 1) for counts in (self.active, self.above, self.hits)))

    def f1(self) -> np.ndarray:
        """F1 (thresholds, units) of a choice of parts."""
        return f1(self.hits, self.above, self.active)


def chunks(rows: int) -> Iterable[slice]:
    """Slices of all rows, each small enough for a cache."""
    return (slice(first, min(first + CHUNK_ROWS, rows)) for first in range(0, rows, CHUNK_ROWS))


def count_units(
    values: Iterable[tuple[slice, np.ndarray]], truth: np.ndarray, parts: np.ndarray, count: int, limits: np.ndarray
) -> UnitCounts:
    """Count rows by part, truth and interval between `limits` (thresholds, units), ascending in each column.

    `values` gives scores (rows of the slice, units); truth (rows, units) is true or false; parts (rows,) below `count`.
    """
    thresholds, units = limits.shape
    cells = count * 2 * units * (thresholds + 1)
    found, column = np.zeros(cells, np.int64), np.arange(units)
    for rows, scores in values:
        bins = np.zeros(scores.shape, np.uint8 if thresholds < 256 else np.int64)
        for limit in limits:
            bins += scores >= limit
        cell = ((parts[rows, None] * 2 + truth[rows]) * units + column) * (thresholds + 1) + bins
        found += np.bincount(cell.reshape(-1), minlength=cells)
    by_bin = found.reshape(count, 2, units, thresholds + 1)
    at_or_above = by_bin[..., ::-1].cumsum(axis=-1)[..., ::-1][..., 1:]
    hits, above = (np.moveaxis(counts, -1, 1) for counts in (at_or_above[:, 1], at_or_above.sum(axis=1)))
    return UnitCounts(by_bin[:, 1].sum(axis=-1), above, hits)


def fitted_thresholds(counts: UnitCounts, grid: Sequence[float], prior_frames: float) -> np.ndarray:
    """Each unit's best threshold drawn towards the one with the best mean F1 for all, the fewer active rows it has.

    `counts` are those of a choice of parts at the ascending `grid`. With n active rows it is (n * own + prior * common)
    / (n + prior): a threshold of its own that a handful of frames suggests is mostly chance. Among equals the nearest
    to 0.5.
    """
    order = sorted(range(len(grid)), key=lambda i: (abs(grid[i] - 0.5), grid[i]))
    ordered, found = np.array(grid)[order], counts.f1()[order]
    own = ordered[found.argmax(axis=0)]
    if not prior_frames:
        return own
    common = ordered[(found.sum(axis=1) / found.shape[1]).argmax()]
    return (counts.active * own + prior_frames * common) / (counts.active + prior_frames)


def best_thresholds(labels: np.ndarray, scores: np.ndarray, grid: Sequence[float]) -> tuple[float, ...]:
    """For each AU the grid threshold with the best F1; the one nearest to 0.5 among equals."""
    return shrunk_thresholds(labels, scores, grid, 0)


def shrunk_thresholds(
    labels: np.ndarray, scores: np.ndarray, grid: Sequence[float], prior_frames: float
) -> tuple[float, ...]:
    """`fitted_thresholds` on labelled rows (rows, units) and their scores."""
    valid = (labels >= 0).all(axis=1)
    truth, known, ascending = labels[valid] == 1, scores[valid], sorted(grid)
    limits = np.repeat(np.array(ascending)[:, None], labels.shape[1], axis=1)
    values = ((rows, known[rows]) for rows in chunks(len(known)))
    counts = count_units(values, truth, np.zeros(len(known), np.int64), 1, limits)
    return tuple(fitted_thresholds(counts.of(np.ones(1)), ascending, prior_frames).tolist())
