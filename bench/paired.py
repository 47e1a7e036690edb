"""The difference of two arms, paired by seed and by test recording, with its interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pipeline.tables.scores import Tasks, official_score

Answers = list[Tasks]  # decisions on the test list; where there are several, the mean of their scores counts


@dataclass(frozen=True)
class Difference:
    """Scores of two arms by seed, the mean of their differences and its 95 % interval."""

    one: list[float]
    other: list[float]
    mean: float
    low: float
    high: float


def paired_difference(
    one: Sequence[Answers], other: Sequence[Answers], labels: Tasks, metric: str, groups: np.ndarray, draws: int = 200
) -> Difference:
    """Two arms of the same seeds, in order, on the same rows; `groups` names the recording of each row.

    The variance of the mean difference has two parts, added: that over seeds divided by their number, on this test
    list, and that over draws of whole recordings with replacement (the same draw for both arms and all seeds), with
    these seeds. The interval is Student's with the seeds' degrees of freedom; one seed leaves the recordings alone,
    and a normal interval.
    """

    def score(answers: Answers, rows: np.ndarray) -> float:
        truth = {task: values[rows] for task, values in labels.items()}
        parts = ({task: values[rows] for task, values in decided.items()} for decided in answers)
        return float(np.mean([official_score(metric, truth, part)["score"] for part in parts]))

    def gain(rows: np.ndarray) -> float:
        return float(np.mean([score(a, rows) - score(b, rows) for a, b in zip(one, other, strict=True)]))

    every = np.arange(len(groups))
    first, second = ([score(answers, every) for answers in arm] for arm in (one, other))
    gains = np.array(first) - np.array(second)
    seeds = len(gains)
    over_seeds = gains.var(ddof=1) / seeds if seeds > 1 else 0.0
    wide = stats.t.ppf(0.975, seeds - 1) if seeds > 1 else stats.norm.ppf(0.975)
    half = float(wide * np.sqrt(over_seeds + recordings_variance(gain, groups, draws)))
    mean = float(gains.mean())
    return Difference(first, second, mean, mean - half, mean + half)


def recordings_variance(gain: Callable[[np.ndarray], float], groups: np.ndarray, draws: int) -> float:
    """Variance of a score over draws of as many recordings as there are, with replacement, from a fixed seed."""
    names, codes = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return 0.0
    rows = [np.flatnonzero(codes == code) for code in range(len(names))]
    generator = np.random.default_rng(0)
    drawn = (generator.integers(len(rows), size=len(rows)) for _ in range(draws))
    return float(np.var([gain(np.concatenate([rows[i] for i in chosen])) for chosen in drawn], ddof=1))
