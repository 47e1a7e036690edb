"""Draws of whole recordings, and scores from sums over them, against the metric on the rows drawn."""

import numpy as np
import pytest

from pipeline.abaw import metrics, resample, sums
from pipeline.abaw.tracks import TRACK_OF_TASK
from pipeline.core.errors import MienError

TOLERANCE = {"expr": 0.0, "lsd": 0.0, "ce": 0.0, "au": 0.0, "va": 1e-12, "mtl": 1e-12}  # counts are exact


def problem(track: str, seed: int, rows: int = 300) -> tuple:
    """Random labels with invalid rows, and predictions that are right more often than not."""
    generator = np.random.default_rng(seed)
    if track == "mtl":
        parts = {task: problem(name, seed, rows) for task, name in TRACK_OF_TASK.items()}
        return {task: part[0] for task, part in parts.items()}, {task: part[1] for task, part in parts.items()}
    if track == "va":
        wave = generator.uniform(-1, 1, (rows, 2))
        guess = (wave * 0.6 + generator.normal(0, 0.3, wave.shape)).clip(-1, 1)
        wave[generator.random(rows) < 0.2] = -5
        return wave, guess
    classes = 2 if track == "au" else metrics.CLASS_COUNTS[track]
    labels = generator.integers(0, classes, (rows, 12) if track == "au" else rows)
    guesses = np.where(generator.random(labels.shape) < 0.5, labels, generator.integers(0, classes, labels.shape))
    labels[generator.random(rows) < 0.2] = -1
    return labels, guesses


def of_rows(track: str, labels, guesses, rows: np.ndarray) -> float:
    """The metric on some rows, each as often as it is named."""
    if track == "mtl":
        labels, guesses = ({task: values[rows] for task, values in side.items()} for side in (labels, guesses))
    else:
        labels, guesses = labels[rows], guesses[rows]
    return metrics.score(track, labels, guesses)["score"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("track", TOLERANCE)
def test_every_draw_scores_as_its_rows_do(track, seed):
    generator = np.random.default_rng(seed + 100)
    labels, guesses = problem(track, seed)
    groups = np.sort(generator.choice([f"v{n}" for n in range(14)], 300))
    generator.shuffle(groups)
    names, codes = resample.group_codes(groups)
    score = sums.part_scores(track, labels, guesses, codes, len(names))
    of_group = [np.flatnonzero(groups == name) for name in names]
    plain, drawn = np.random.default_rng(seed), np.random.default_rng(seed)
    for times in resample.times_drawn(len(names), 30, drawn):
        for one, found in zip(times, score(times), strict=True):
            chosen = plain.integers(len(names), size=len(names))
            assert np.array_equal(np.bincount(chosen, minlength=len(names)), one)
            wanted = of_rows(track, labels, guesses, np.concatenate([of_group[i] for i in chosen]))
            assert abs(found - wanted) <= TOLERANCE[track]


def test_blocks_of_draws_are_the_draws(monkeypatch):
    whole = np.concatenate(list(resample.times_drawn(7, 20, np.random.default_rng(1))))
    monkeypatch.setattr(resample, "BLOCK", 21)  # three draws
    blocks = list(resample.times_drawn(7, 20, np.random.default_rng(1)))
    assert len(blocks) == 7 and np.array_equal(np.concatenate(blocks), whole)
    assert (whole.sum(axis=1) == 7).all()


def test_interval_of_whole_videos():
    of_a = np.array([1.0, 0, 0, 0])
    low, high = resample.bootstrap_interval(lambda times: times @ of_a / 4, 4, seed=3, draws=200)
    assert 0 <= low < 0.25 < high <= 1
    assert (low, high) == resample.bootstrap_interval(lambda times: times @ of_a / 4, 4, seed=3, draws=200)
    assert np.isnan(resample.bootstrap_interval(lambda times: times[:, 0], 1, seed=0, draws=5)[0])
    assert np.isnan(resample.bootstrap_interval(lambda times: times[:, 0], 0, seed=0, draws=5)[1])


@pytest.mark.parametrize("groups", [np.array(["b", "a", "b", "é", "Z"], object), np.array(["2", "10"]), np.arange(5)])
def test_group_codes_are_those_of_a_sort(groups):
    names, codes = resample.group_codes(groups)
    wanted, numbers = np.unique(groups, return_inverse=True)
    assert names.tolist() == wanted.tolist() and codes.tolist() == numbers.tolist()


def test_a_side_that_does_not_vary_has_no_concordance():
    labels = np.tile([[0.3, 0.3]], (6, 1))
    for guesses in (labels, np.linspace(-1, 1, 12).reshape(6, 2)):
        score = sums.part_scores("va", labels, guesses, np.repeat([0, 1], 3), 2)
        assert score(np.array([[1.0, 1], [2, 0]])).tolist() == [0, 0]
    assert sums.part_scores("va", np.full((4, 2), -5.0), labels[:4], np.zeros(4, int), 1)(np.ones((1, 1))) == [0]


def test_sums_refuse_what_the_metric_refuses():
    codes = np.zeros(2, np.int64)
    for track, labels, guesses, said in (
        ("va", np.zeros((2, 2)), np.array([[np.nan, 0], [0, 0]]), "NaN"),
        ("au", np.zeros((2, 12), int), np.full((2, 12), 3), "0 or 1"),
        ("expr", np.zeros(2, int), np.zeros(3, int), "shape"),
    ):
        with pytest.raises(MienError, match=said):
            sums.part_scores(track, labels, guesses, codes, 1)


def test_a_decision_that_is_no_class_is_never_a_hit():
    labels, guesses = np.array([0, 1, 2, 7]), np.array([0, 9, -3, 7])
    score = sums.part_scores("expr", labels, guesses, np.zeros(4, np.int64), 1)
    assert score(np.ones((1, 1)))[0] == metrics.expr_score(labels, guesses)["score"]
