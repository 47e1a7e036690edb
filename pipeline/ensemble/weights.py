"""Convex weights of an ensemble's members: the best on a grid, searched whole where it is small and climbed where not.

The grid of n members at a step of a tenth has (n + 9 choose 10) points: 286 for four members, 19,448 for eight.
"""

import functools
import math
from collections.abc import Callable, Iterator

WHOLE_GRID = 286  # points that are all tried: four members at a step of a tenth
Weights = tuple[float, ...]
Parts = tuple[int, ...]  # the same in whole steps


def convex_weights(members: int, step: float) -> list[Weights]:
    """All weight vectors on a grid of the simplex; single members first, so that a tie keeps the simplest."""
    parts = round(1 / step)
    grid = sorted(_compositions(parts, members), key=_simplest)
    return [tuple(x / parts for x in point) for point in grid]


def best_weights(judge: Callable[[Weights], float], members: int, step: float) -> Weights:
    """The weights that `judge` gives the highest score; the simplest among equals."""
    parts = round(1 / step)
    if math.comb(parts + members - 1, members - 1) > WHOLE_GRID:
        return climb(judge, members, step)
    grid = convex_weights(members, step)
    return max(grid, key=judge) if len(grid) > 1 else grid[0]


def climb(judge: Callable[[Weights], float], members: int, step: float) -> Weights:
    """Weights that no exchange between two members improves.

    From two starts, the best single member and the greedy choice with replacement (Caruana et al. 2004, "Ensemble
    selection from libraries of models"), the best exchange of any size between two members is taken until none helps.
    """
    parts = round(1 / step)
    score = functools.cache(lambda point: judge(tuple(x / parts for x in point)))
    singles = [tuple(parts if i == member else 0 for i in range(members)) for member in range(members)]
    ends = [_ascend(score, start) for start in (max(singles, key=score), _greedy(judge, members, parts))]
    best = max(sorted(ends, key=_simplest), key=score)
    return tuple(x / parts for x in best)


def _compositions(parts: int, members: int) -> Iterator[Parts]:
    if members == 1:
        yield (parts,)
        return
    for first in range(parts + 1):
        for rest in _compositions(parts - first, members - 1):
            yield (first, *rest)


def _simplest(point: Parts) -> tuple[int, Parts]:
    return sum(x > 0 for x in point), point


def _greedy(judge: Callable[[Weights], float], members: int, parts: int) -> Parts:
    """As many picks as there are parts, each of the member that helps the mean of those picked most."""
    point: Parts = (0,) * members
    for picked in range(1, parts + 1):
        wider = [tuple(x + (i == member) for i, x in enumerate(point)) for member in range(members)]
        point = max(wider, key=lambda p, n=picked: judge(tuple(x / n for x in p)))  # type: ignore[misc]
    return point


def _ascend(score: Callable[[Parts], float], point: Parts) -> Parts:
    while True:
        better = max(_exchanges(point), key=score, default=point)
        if score(better) <= score(point):
            return point
        point = better


def _exchanges(point: Parts) -> Iterator[Parts]:
    for giver, held in enumerate(point):
        for taker in range(len(point)):
            for size in range(1, held + 1 if taker != giver else 1):
                moved = list(point)
                moved[giver] -= size
                moved[taker] += size
                yield tuple(moved)
