"""Weights of the members: the grid whole, and the climb that finds the same where both can be run."""

import math

import numpy as np
import pytest

from pipeline.ensemble.weights import WHOLE_GRID, Weights, best_weights, climb, convex_weights
from pipeline.tables.scores import decide, official_score


@pytest.mark.parametrize(("members", "step"), [(1, 0.1), (2, 0.1), (3, 0.25), (4, 0.5)])
def test_convex_weights(members, step):
    grid = convex_weights(members, step)
    parts = round(1 / step)
    assert len(grid) == len(set(grid)) == math.comb(parts + members - 1, members - 1)
    assert all(sum(weights) == pytest.approx(1) and min(weights) >= 0 for weights in grid)
    used = [sum(w > 0 for w in weights) for weights in grid]
    assert used == sorted(used) and used[:members] == [1] * members  # single members first


class Problem:
    """Labels of a track and members whose errors differ; `judge` counts how often it is asked."""

    def __init__(self, task: str, members: int, seed: int, rows: int = 400) -> None:
        generator = np.random.default_rng(seed)
        self.task, self.asked = task, 0
        if task == "expression":
            self.labels: np.ndarray = generator.integers(0, 8, rows)
            truth, spread = np.eye(8)[self.labels], 0.5
        elif task == "va":
            self.labels = truth = generator.uniform(-1, 1, (rows, 2))
            spread = 0.7
        else:
            self.labels = (generator.random((rows, 12)) < 0.3).astype(np.int64)
            truth, spread = self.labels + 0.3, 0.4
        self.scores = [
            generator.uniform(0.1, 0.7) * truth + generator.normal(0, spread, truth.shape) for _ in range(members)
        ]

    def judge(self, weights: Weights) -> float:
        self.asked += 1
        mixed = np.sum([w * s for w, s in zip(weights, self.scores, strict=True)], axis=0)
        track = {"expression": "expr", "aus": "au", "va": "va"}[self.task]
        return official_score(track, {self.task: self.labels}, decide({self.task: mixed}))["score"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("members", [3, 4])
@pytest.mark.parametrize("task", ["expression", "aus", "va"])
def test_the_climb_finds_what_the_whole_grid_holds(task, members, seed):
    problem = Problem(task, members, seed)
    assert math.comb(10 + members - 1, members - 1) <= WHOLE_GRID
    assert problem.judge(climb(problem.judge, members, 0.1)) == problem.judge(best_weights(problem.judge, members, 0.1))


def test_many_members_end_soon_and_beat_each_alone():
    problem = Problem("va", 12, 0)
    weights = best_weights(problem.judge, 12, 0.1)
    assert problem.asked < 2_000 < math.comb(10 + 11, 11)
    alone = [problem.judge(tuple(float(i == member) for i in range(12))) for member in range(12)]
    assert sum(weights) == pytest.approx(1) and problem.judge(weights) > max(alone)


def test_the_climb_keeps_the_simplest_among_equals():
    assert climb(lambda weights: 1.0, 6, 0.1) == (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
