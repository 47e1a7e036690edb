"""Sampling, and the pool of unlabelled faces."""

import numpy as np
import pytest
import torch

from pipeline.core.errors import MienError
from pipeline.core.graph import Fold, Needs
from pipeline.core.paths import FACES
from pipeline.train.data import TrackData, UnlabelledFaces, draw, rarity, valid_rows
from tests.mini import levels, write_faces

POOL = Needs("graph.trainings.x", [FACES / "extra"])


# --- the pool --------------------------------------------------------------------------------------------------------


def test_the_pool_gives_all_its_faces(mini):
    sample = UnlabelledFaces(32, POOL).sample(np.random.default_rng(0), 200)
    assert sample.shape == (200, 3, 32, 32) and sample.dtype == torch.uint8
    assert set(levels(sample)) == set(range(10))


def test_an_empty_pool_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_faces(tmp_path, "extra", {"a": 3}, found=[False] * 3)
    with pytest.raises(MienError, match="there is no unlabelled face"):
        UnlabelledFaces(32, POOL)


# --- folds -----------------------------------------------------------------------------------------------------------


def test_the_recordings_of_a_fold_judge_and_all_others_train(mini):
    whole = TrackData("au", 32, 0.5)
    folds = [TrackData("au", 32, 0.5, Fold(number=number, of=3)) for number in range(3)]
    judged = [set(data.validation.table["video"].to_pylist()) for data in folds]
    assert sorted(map(sorted, judged)) == [["a"], ["b"], ["v"]]  # training and validation recordings alike
    for data, own in zip(folds, judged, strict=True):
        assert set(data.train.table["video"].to_pylist()) == {"a", "b", "v"} - own
        assert len(data.train) + len(data.validation) == len(whole.train) + len(whole.validation)
        assert data.test.table.equals(whole.test.table)
        assert (data.labels["aus"] >= 0).all() and len(data.validation_labels["aus"]) == len(data.validation)


def test_a_fold_that_is_none_is_told():
    with pytest.raises(ValueError, match="number counts from 0: the last of 3 is 2"):
        Fold(number=3, of=3)


# --- sampling --------------------------------------------------------------------------------------------------------


def frequencies(labels: dict[str, np.ndarray], balance: float, size: int = 20000) -> np.ndarray:
    chosen = draw(np.random.default_rng(0), np.cumsum(rarity(labels, balance)), size)
    return np.bincount(labels["expression"][chosen], minlength=4) / size


def test_balance_makes_classes_equally_frequent():
    labels = {"expression": np.repeat([0, 1, 3], [900, 90, 10])}
    assert frequencies(labels, 1.0) == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=0.02)
    assert frequencies(labels, 0.0) == pytest.approx([0.9, 0.09, 0, 0.01], abs=0.01)
    between = frequencies(labels, 0.5)  # in proportion to the root of the counts
    assert between == pytest.approx(np.sqrt([900, 90, 0, 10]) / np.sqrt([900, 90, 10]).sum(), abs=0.02)


def test_rarity_of_valence_and_arousal_counts_cells():
    va = np.array([[0.0, 0.0]] * 8 + [[0.9, 0.9]] * 2)
    weights = rarity({"va": va}, 1.0)
    assert weights == pytest.approx([10 / 8] * 8 + [10 / 2] * 2)
    assert rarity({"va": np.array([[1.0, 1.0], [-1.0, -1.0], [-5.0, 0.3]])}, 1.0) == pytest.approx([3, 3, 3])


def test_rarity_of_units_favours_the_rare_ones():
    aus = np.zeros((100, 12), int)
    aus[:50, 0] = 1
    aus[50:55, 1] = 1
    weights = rarity({"aus": aus}, 1.0)
    assert weights[0] == pytest.approx(2) and weights[50] == pytest.approx(20) and weights[99] == 1
    assert rarity({"aus": aus}, 0.0) == pytest.approx(np.ones(100))
    aus[60] = -1  # invalid is not active
    assert rarity({"aus": aus}, 1.0)[60] == 1


def test_draw_follows_the_weights_and_never_takes_a_row_of_none():
    chosen = draw(np.random.default_rng(0), np.cumsum([0.0, 3.0, 0.0, 1.0, 0.0]), 8000)
    counts = np.bincount(chosen, minlength=5) / 8000
    assert counts == pytest.approx([0, 0.75, 0, 0.25, 0], abs=0.02) and counts[[0, 2, 4]].sum() == 0


def test_valid_rows():
    assert valid_rows({"expression": np.array([-1, 0, 7])}).tolist() == [False, True, True]
    assert valid_rows({"va": np.array([[-5.0, -5.0], [0.1, 0.2]])}).tolist() == [False, True]
    aus = np.full((3, 12), -1)
    aus[1, 3] = 0
    assert valid_rows({"aus": aus}).tolist() == [False, True, False]
    assert valid_rows({"aus": aus, "expression": np.array([2, -1, -1])}).tolist() == [True, True, False]
