"""The official metrics from sums over parts: recordings that are drawn, or folds that are left out.

Rows are read once. What a metric needs of a part is a handful of numbers (hits, predicted and labelled rows of a class;
moments of valence and arousal), and the score of any choice of parts is a product of matrices. F1 is made of counts and
has the same bits as `metrics.py`; CCC agrees within 1e-12.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.abaw.metrics import CLASS_COUNTS, check_pair
from pipeline.abaw.resample import TimesScore
from pipeline.abaw.tracks import INVALID_CLASS, INVALID_VA, TRACK_OF_TASK

LEAST_VARIANCE = 1e-14  # of a side that counts as constant: a deviation of 1e-7
MOMENTS = 5  # x, y, xx, yy, xy


def f1(hits: np.ndarray, guessed: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """F1 from counts of any one shape, 0 for what neither side has."""
    return 2 * hits / np.maximum(labelled + guessed, 1)


@dataclass(frozen=True)
class F1Sums:
    """Counts (parts, classes): hits, predicted rows, labelled rows."""

    hits: np.ndarray
    guessed: np.ndarray
    labelled: np.ndarray

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Mean F1 over the classes, a fixed denominator; `times` (choices, parts) tells how often a part counts."""
        found = f1(*(times @ counts.astype(np.float64) for counts in (self.hits, self.guessed, self.labelled)))
        return np.ascontiguousarray(found).sum(axis=1) / found.shape[1]


@dataclass(frozen=True)
class CccSums:
    """Rows (parts,), and sums (parts, dimensions, 5) of x, y, xx, yy, xy around `centres` (2, dimensions)."""

    rows: np.ndarray
    sums: np.ndarray
    centres: np.ndarray

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Mean concordance correlation over the dimensions."""
        rows = times @ self.rows.astype(np.float64)
        means = np.tensordot(times, self.sums, 1) / np.maximum(rows, 1)[:, None, None]
        return ccc_of_moments(rows[:, None], means, self.centres).mean(axis=-1)


def ccc_of_moments(rows: np.ndarray, means: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """CCC from mean moments (..., 5) around `centres` (2, ...); 0 below two rows or where a side does not vary."""
    x, y, xx, yy, xy = np.moveaxis(means, -1, 0)
    variance_x, variance_y = xx - x * x, yy - y * y
    spread = variance_x + variance_y + (x - y + centres[0] - centres[1]) ** 2
    varied = (rows >= 2) & (variance_x > LEAST_VARIANCE) & (variance_y > LEAST_VARIANCE)
    return np.where(varied, 2 * (xy - x * y) / np.where(varied, spread, 1), 0.0)


def confusion(labels: np.ndarray, guesses: np.ndarray, classes: int, parts: np.ndarray, count: int) -> np.ndarray:
    """Rows of each part by label and decision (count, classes + 1, classes + 1); the last is what is no class."""
    cells = parts.astype(np.int64)
    for values in (labels, guesses):
        cells = cells * (classes + 1) + np.where((values >= 0) & (values < classes), values, classes).astype(np.int64)
    side = classes + 1
    return np.bincount(cells, minlength=count * side * side).reshape(count, side, side)


def f1_of_confusion(counts: np.ndarray) -> F1Sums:
    """From confusions (parts, classes + 1, classes + 1) of valid rows."""
    hits = np.diagonal(counts, axis1=1, axis2=2)
    return F1Sums(hits[:, :-1], counts.sum(axis=1)[:, :-1], counts.sum(axis=2)[:, :-1])


def _class_sums(labels: np.ndarray, guesses: np.ndarray, classes: int, parts: np.ndarray, count: int) -> F1Sums:
    valid = labels != INVALID_CLASS
    return f1_of_confusion(confusion(labels[valid], guesses[valid], classes, parts[valid], count))


def _unit_sums(labels: np.ndarray, guesses: np.ndarray, parts: np.ndarray, count: int) -> F1Sums:
    valid = (labels != INVALID_CLASS).all(axis=1)
    truth, guess, parts = labels[valid] == 1, guesses[valid] == 1, parts[valid]

    def counted(mask: np.ndarray) -> np.ndarray:
        columns = [np.bincount(parts[column], minlength=count) for column in np.ascontiguousarray(mask.T)]
        return np.stack(columns, axis=1)

    return F1Sums(counted(truth & guess), counted(guess), counted(truth))


def valid_va(labels: np.ndarray) -> np.ndarray:
    """Rows (rows,) whose valence and arousal both are labelled."""
    return np.all(labels > INVALID_VA / 2, axis=1)


def ccc_sums(
    labels: np.ndarray, guesses: np.ndarray, parts: np.ndarray, count: int, centres: np.ndarray | None = None
) -> CccSums:
    """Sums of labelled rows (rows, dimensions), around the means of both sides or around `centres` (2, dimensions)."""
    valid = valid_va(labels)
    x, y, parts = labels[valid].astype(np.float64), guesses[valid].astype(np.float64), parts[valid]
    if centres is None:
        centres = np.stack([side.mean(axis=0) if len(side) else np.zeros(side.shape[1]) for side in (x, y)])
    x, y = x - centres[0], y - centres[1]
    sums = np.empty((count, x.shape[1], MOMENTS))
    for number, values in enumerate((x, y, x * x, y * y, x * y)):
        for dimension, column in enumerate(values.T):
            sums[:, dimension, number] = np.bincount(parts, column, minlength=count)
    return CccSums(np.bincount(parts, minlength=count), sums, centres)


def part_scores(track: str, labels: Any, predictions: Any, parts: np.ndarray, count: int) -> TimesScore:
    """The official score of `track` (as `metrics.score` has it) for any choice of `count` parts.

    `parts` (rows,) numbers the part of each row. The answer takes how often each part counts (choices, count) and gives
    scores (choices,). Raises MienError as the metric does.
    """
    if track == "mtl":
        each = [
            part_scores(name, labels[task], predictions[task], parts, count) for task, name in TRACK_OF_TASK.items()
        ]
        return lambda times: _added([score(times) for score in each])
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    check_pair(track, labels, predictions)
    if track == "va":
        return ccc_sums(labels, predictions, parts, count).scores
    if track == "au":
        return _unit_sums(labels, predictions, parts, count).scores
    return _class_sums(labels, predictions, CLASS_COUNTS[track], parts, count).scores


def _added(scores: Sequence[np.ndarray]) -> np.ndarray:
    """One after the other, as the metric adds its tasks."""
    total = np.zeros_like(scores[0])
    for score in scores:
        total = total + score
    return total
