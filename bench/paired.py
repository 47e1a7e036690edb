"""The difference of two arms, paired by seed and by test recording, with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pipeline.abaw.resample import TimesScore, drawn_scores, group_codes
from pipeline.tables.scores import Tasks, official_part_scores, official_score

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
    these seeds. The interval is Student's with Satterthwaite's degrees of freedom (1946): few where the seeds, of which
    there are few, are most of the variance, and nearly as many as recordings where these are.
    """

    names, codes = group_codes(groups)

    def scores(answers: Answers) -> TimesScore:
        each = [official_part_scores(metric, labels, decided, codes, len(names)) for decided in answers]
        return lambda times: np.mean([score(times) for score in each], axis=0)

    arms = [[scores(answers) for answers in arm] for arm in (one, other)]

    def gain(times: np.ndarray) -> np.ndarray:
        return np.mean([a(times) - b(times) for a, b in zip(*arms, strict=True)], axis=0)

    first, second = ([_mean_score(metric, labels, answers) for answers in arm] for arm in (one, other))
    gains = np.array(first) - np.array(second)
    seeds = len(gains)
    over_seeds = float(gains.var(ddof=1)) / seeds if seeds > 1 else 0.0
    half = half_width([(over_seeds, seeds - 1), (recordings_variance(gain, len(names), draws), len(names) - 1)])
    mean = float(gains.mean())
    return Difference(first, second, mean, mean - half, mean + half)


def half_width(parts: Sequence[tuple[float, int]]) -> float:
    """Half of a 95 % interval whose variance is a sum of parts, each estimated with its degrees of freedom."""
    variance = sum(part for part, _ in parts)
    if not variance:
        return 0.0
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts if part)
    return float(stats.t.ppf(0.975, freedom) * np.sqrt(variance))


def _mean_score(metric: str, labels: Tasks, answers: Answers) -> float:
    return float(np.mean([official_score(metric, labels, decided)["score"] for decided in answers]))


def recordings_variance(gain: TimesScore, count: int, draws: int) -> float:
    """Variance of a score over draws of as many recordings as there are, with replacement, from a fixed seed."""
    return float(np.var(drawn_scores(gain, count, draws, seed=0), ddof=1)) if count > 1 else 0.0
