"""Scores over draws of whole recordings: frames of one video are not independent.

A draw says how often each recording comes; a score that is made from sums over recordings (`sums.py`) is a matrix
product of both.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

BLOCK = 1 << 22  # numbers of a block of draws: 32 MB

TimesScore = Callable[[np.ndarray], np.ndarray]  # times drawn (draws, recordings) to scores (draws,)


def group_codes(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct names in order and the number of each row's (rows,), as `numpy.unique` has them.

    Hashed, since sorting a million names takes seconds.
    """
    groups = np.asarray(groups)
    if groups.dtype.kind not in "OUS":
        return np.unique(groups, return_inverse=True)
    coded = pa.array(groups).dictionary_encode()
    names = np.array(coded.dictionary.to_pylist(), dtype=groups.dtype)
    order = np.argsort(names, kind="stable")
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return names[order], places[coded.indices.to_numpy()]


def times_drawn(count: int, draws: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each of `count` recordings comes in draws of as many with replacement: blocks (some draws, count)."""
    for first in range(0, draws, step := max(1, BLOCK // max(count, 1))):
        some = range(first, min(first + step, draws))
        yield np.stack([np.bincount(generator.integers(count, size=count), minlength=count) for _ in some]).astype(
            np.float64
        )


def drawn_scores(score: TimesScore, count: int, draws: int, seed: int) -> np.ndarray:
    """Scores (draws,) when `count` whole recordings are drawn with replacement (Efron, 1979)."""
    generator = np.random.default_rng(seed)
    return np.concatenate([np.zeros(0), *(score(times) for times in times_drawn(count, draws, generator))])


def bootstrap_interval(
    score: TimesScore, count: int, seed: int, draws: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of a score when `count` whole recordings are drawn with replacement; below two: (nan, nan).

    `score` takes how often each recording is drawn (draws, count) and returns scores (draws,).
    """
    if count < 2:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(drawn_scores(score, count, draws, seed), [tail, 1 - tail])
    return float(low), float(high)
