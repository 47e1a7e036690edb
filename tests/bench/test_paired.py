"""The paired difference of two arms against hand-worked values."""

import math

import numpy as np
import pytest

from bench.paired import half_width, paired_difference, recordings_variance

LABELS = {"expression": np.repeat(np.arange(6), 4)}  # four recordings, each with all six classes
GROUPS = np.tile(np.arange(4), 6)
RIGHT = {"expression": LABELS["expression"]}


def wrong_in(recording: int) -> dict[str, np.ndarray]:
    """Every class taken for the next one in one recording."""
    return {"expression": np.where(recording == GROUPS, (LABELS["expression"] + 1) % 6, LABELS["expression"])}


def test_scores_by_seed_and_the_mean_of_their_differences():
    # right in 18 of 24: of each class three hits, one miss and one false alarm, F1 = 6 / 8
    found = paired_difference([[RIGHT]] * 2, [[wrong_in(1)], [RIGHT]], LABELS, "lsd", GROUPS)
    assert found.one == [1, 1] and found.other == pytest.approx([0.75, 1])
    assert found.mean == pytest.approx(0.125)
    assert found.low < 0 < found.high and found.mean - found.low == pytest.approx(found.high - found.mean)


def test_several_answers_count_by_the_mean_of_their_scores():
    found = paired_difference([[RIGHT]], [[RIGHT, wrong_in(0)]], LABELS, "lsd", GROUPS)
    assert found.other == pytest.approx([0.875])


def test_seeds_alone_give_student_s_interval():
    one = np.zeros(24, np.int64)  # one recording: there is nothing to draw from
    arms = [[RIGHT]] * 3, [[wrong_in(1)], [RIGHT], [RIGHT]]
    found = paired_difference(*arms, LABELS, "lsd", one)
    half = 4.302653 * np.std([0.25, 0, 0], ddof=1) / math.sqrt(3)  # Student's with two degrees of freedom
    assert (found.low, found.high) == pytest.approx((0.25 / 3 - half, 0.25 / 3 + half), rel=1e-5)


def test_recordings_widen_the_interval_of_seeds_that_agree():
    found = paired_difference([[RIGHT]] * 3, [[wrong_in(1)]] * 3, LABELS, "lsd", GROUPS, draws=400)
    assert found.low < 0 < found.mean  # one recording of four made the difference
    every = [{"expression": (LABELS["expression"] + (GROUPS >= 0)) % 6}]
    sure = paired_difference([[RIGHT]] * 3, [every] * 3, LABELS, "lsd", GROUPS)
    assert sure.low == pytest.approx(sure.high) == pytest.approx(1)


def test_variance_over_recordings_is_that_of_a_mean():
    values = np.array([0.0, 0.0, 1.0, 1.0])  # variance 1 / 4; of a mean of four drawn ones 1 / 16
    found = recordings_variance(lambda times: times @ values / 4, 4, draws=4000)
    assert found == pytest.approx(1 / 16, rel=0.1)
    assert recordings_variance(lambda times: times / 0, 1, draws=3) == 0


def test_degrees_of_freedom_are_satterthwaite_s():
    assert half_width([(0.04, 2), (0.0, 9)]) == pytest.approx(4.302653 * 0.2, rel=1e-5)  # the seeds alone
    assert half_width([(0.0, 1), (0.04, 11)]) == pytest.approx(2.200985 * 0.2, rel=1e-5)  # the recordings alone
    # equal parts of 2 and 10: (2 v)^2 / (v^2 / 2 + v^2 / 10) = 6.667 degrees, Student's quantile 2.3880
    assert half_width([(0.02, 2), (0.02, 10)]) == pytest.approx(2.3880 * 0.2, rel=1e-3)
    assert half_width([(0.0, 1), (0.0, 3)]) == 0
