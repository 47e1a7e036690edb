"""Candidates of one task, scored for all training sets of the inner folds at once.

A candidate is a convex mix of the members, or its smoothed scores. Its rows are read once, in chunks that stay in a
cache, and counted by fold; the score without a fold is then a matter of the other folds' counts. Expressions and AUs
are counted, and have the same bits as the metric on the rows of the training set; CCC agrees within 1e-12.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.abaw.metrics import CLASS_COUNTS
from pipeline.abaw.sums import MOMENTS, CccSums, ccc_sums, f1, f1_of_confusion, valid_va
from pipeline.abaw.tracks import AUS, INVALID_CLASS
from pipeline.tables.thresholds import chunks, count_units, fitted_thresholds

CCC_DIGITS = 12  # members that say the same tie, whatever the rounding of their sums
Weights = tuple[float, ...]
Pass = Callable[[], Iterable[tuple[slice, np.ndarray]]]  # over the scores of all rows, slice by slice


def combine(scores: Sequence[np.ndarray], weights: Weights) -> np.ndarray:
    """Weighted mean of members' scores (rows, columns); a member without weight is not looked at."""
    terms = (w * s for w, s in zip(weights, scores, strict=True) if w)
    total = next(terms)
    for term in terms:
        total += term
    return total


@dataclass(frozen=True)
class Folds:
    """The fold of each row (rows,), their number, and which folds each training set has (sets, folds): 1 or 0.

    The first set is all rows; the others leave one fold out, in order.
    """

    of_row: np.ndarray
    count: int
    kept: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray) -> "Folds":
        """All rows, and all but each fold; a single fold is its own training set."""
        count = int(numbers.max(initial=0)) + 1
        without = 1.0 - np.eye(count) if count > 1 else np.ones((1, 1))
        return cls(numbers, count, np.concatenate((np.ones((1, count)), without)))


@dataclass(frozen=True)
class Found:
    """Scores of a candidate (sets,), and the AU thresholds that each has fitted for it (sets, units), if any."""

    scores: np.ndarray
    thresholds: np.ndarray | None = None


class Scorer(Protocol):
    """What a task scores its candidates by."""

    def mixed(self, weights: Weights) -> Found:
        """Of the members' mix at these weights."""

    def smoothed(self, values: np.ndarray) -> Found:
        """Of scores (rows, columns) of a mix that was smoothed."""


def _passes(scores: Sequence[np.ndarray], weights: Weights) -> Pass:
    return lambda: ((rows, combine([s[rows] for s in scores], weights)) for rows in chunks(len(scores[0])))


def _slices(values: np.ndarray) -> Pass:
    return lambda: ((rows, values[rows]) for rows in chunks(len(values)))


class Expressions:
    """Confusion counts by fold of the likeliest class."""

    def __init__(self, metric: str, scores: Sequence[np.ndarray], labels: np.ndarray, folds: Folds) -> None:
        self._scores, self._folds = scores, folds
        self._side = CLASS_COUNTS[metric] + 1  # a place more, for what is no class of the track
        known = np.where((labels >= 0) & (labels < self._side - 1), labels, self._side - 1).astype(np.int64)
        part = np.where(labels == INVALID_CLASS, folds.count, folds.of_row)  # rows without a label are a part of no set
        self._cells = (part * self._side + known) * self._side

    def mixed(self, weights: Weights) -> Found:
        """Of the members' mix at these weights."""
        return self._count(_passes(self._scores, weights))

    def smoothed(self, values: np.ndarray) -> Found:
        """Of scores (rows, columns) of a mix that was smoothed."""
        return self._count(_slices(values))

    def _count(self, values: Pass) -> Found:
        shape = self._folds.count + 1, self._side, self._side
        counts = np.zeros(np.prod(shape), np.int64)
        for rows, scores in values():
            decided = np.minimum(scores.argmax(axis=1), self._side - 1)
            counts += np.bincount(self._cells[rows] + decided, minlength=len(counts))
        return Found(f1_of_confusion(counts.reshape(shape)[:-1]).scores(self._folds.kept))


class Units:
    """Counts by fold of AUs at or above thresholds: those of the grid, then those that each training set fits."""

    def __init__(
        self,
        scores: Sequence[np.ndarray],
        labels: np.ndarray,
        folds: Folds,
        grid: Sequence[float],
        prior_frames: float,
    ) -> None:
        self._scores, self._folds, self._prior = scores, folds, prior_frames
        self._grid, self._truth = sorted(grid), labels == 1
        self._parts = np.where((labels != INVALID_CLASS).all(axis=1), folds.of_row, folds.count)
        self._kept = np.pad(folds.kept, ((0, 0), (0, 1)))  # rows without a label are a part of no set

    def mixed(self, weights: Weights) -> Found:
        """Of the members' mix at these weights."""
        return self._count(_passes(self._scores, weights))

    def smoothed(self, values: np.ndarray) -> Found:
        """Of scores (rows, columns) of a mix that was smoothed."""
        return self._count(_slices(values))

    def _count(self, values: Pass) -> Found:
        limits = np.repeat(np.array(self._grid)[:, None], len(AUS), axis=1)
        counts = count_units(values(), self._truth, self._parts, self._folds.count + 1, limits)
        fitted = np.stack([fitted_thresholds(counts.of(times), self._grid, self._prior) for times in self._kept])
        order = fitted.argsort(axis=0, kind="stable")
        ascending = np.take_along_axis(fitted, order, axis=0)
        counts = count_units(values(), self._truth, self._parts, self._folds.count + 1, ascending)
        place = order.argsort(axis=0, kind="stable")  # where each set's threshold of a unit stands
        scores = []
        for times, at in zip(self._kept, place, strict=True):
            found = counts.of(times)
            units = np.arange(len(AUS))
            scores.append(f1(found.hits[at, units], found.above[at, units], found.active).sum() / len(AUS))
        return Found(np.array(scores), fitted)


class ValenceArousal:
    """Moments by fold: of a mix they follow from the members' own, where no score is clipped."""

    def __init__(self, scores: Sequence[np.ndarray], labels: np.ndarray, folds: Folds) -> None:
        self._labels, self._folds = labels, folds
        valid = valid_va(labels)
        truth, parts = labels[valid].astype(np.float64), folds.of_row[valid]
        sides = np.stack([truth, *(s[valid] for s in scores)], axis=-1)  # (rows, dimensions, 1 + members)
        self._centres = sides.mean(axis=0) if len(sides) else np.zeros(sides.shape[1:])
        self._rows = np.bincount(parts, minlength=folds.count)
        inside = (np.abs(sides[..., 1:]) <= 1).all(axis=(1, 2))
        beyond = np.flatnonzero(valid)[~inside]
        self._beyond = labels[beyond], [s[beyond] for s in scores], folds.of_row[beyond]
        shape = folds.count, sides.shape[1]
        self._sums = np.zeros((*shape, sides.shape[2]))
        self._products = np.zeros((*shape, sides.shape[2], sides.shape[2]))
        for fold in range(folds.count):
            some = sides[inside & (parts == fold)] - self._centres
            self._sums[fold] = some.sum(axis=0)
            columns = np.moveaxis(some, 1, 0)
            self._products[fold] = columns.transpose(0, 2, 1) @ columns

    def mixed(self, weights: Weights) -> Found:
        """Of the members' mix at these weights."""
        w = np.array(weights)
        sums = np.empty((*self._sums.shape[:2], MOMENTS))
        sums[..., 0], sums[..., 1] = self._sums[..., 0], self._sums[..., 1:] @ w
        sums[..., 2], sums[..., 4] = self._products[..., 0, 0], self._products[..., 0, 1:] @ w
        sums[..., 3] = self._products[..., 1:, 1:] @ w @ w
        centres = np.stack((self._centres[:, 0], self._centres[:, 1:] @ w))
        labels, scores, parts = self._beyond
        if len(labels):
            clipped = combine(scores, weights).clip(-1, 1)
            sums += ccc_sums(labels, clipped, parts, self._folds.count, centres).sums
        return self._scored(CccSums(self._rows, sums, centres))

    def smoothed(self, values: np.ndarray) -> Found:
        """Of scores (rows, columns) of a mix that was smoothed."""
        return self._scored(ccc_sums(self._labels, values.clip(-1, 1), self._folds.of_row, self._folds.count))

    def _scored(self, sums: CccSums) -> Found:
        return Found(sums.scores(self._folds.kept).round(CCC_DIGITS))
