"""The official metrics: fixed denominators, masks per task, and the traps published code falls into."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from pipeline.abaw import metrics
from pipeline.abaw.metrics import ccc, score
from pipeline.core.errors import MienError


def test_absent_classes_count_as_zero():
    labels = np.array([0, 0, 0, 4, 4, 7])
    predictions = np.array([0, 0, 4, 4, 4, 7])
    found = metrics.expr_score(labels, predictions)
    f1 = [2 * 2 / 5, 0, 0, 0, 2 * 2 / 5, 0, 0, 1.0]
    assert found["f1_per_class"] == pytest.approx(f1)
    assert found["score"] == pytest.approx(sum(f1) / 8)
    # the fault this guards against: the average over the classes present is more than twice as high
    assert f1_score(labels, predictions, average="macro") > 2 * found["score"]


@pytest.mark.parametrize(("track", "classes"), [("expr", 8), ("lsd", 6), ("ce", 7)])
@pytest.mark.parametrize("rows", [0, 1, 5, 400])
def test_f1_is_scikit_learns_to_the_last_bit(track, classes, rows):
    generator = np.random.default_rng(rows)
    labels = generator.integers(-1, classes - 2, rows)  # the last classes are absent
    predictions = generator.integers(0, classes, rows)
    valid = labels >= 0
    expected = np.zeros(classes)
    if valid.any():
        expected = f1_score(labels[valid], predictions[valid], labels=range(classes), average=None, zero_division=0)
    found = score(track, labels, predictions)
    assert found["f1_per_class"] == expected.tolist() and found["rows"] == valid.sum()


@pytest.mark.parametrize(("track", "classes"), [("expr", 8), ("lsd", 6), ("ce", 7)])
def test_denominators(track, classes):
    labels = np.zeros(10, int)
    assert score(track, labels, labels)["score"] == pytest.approx(1 / classes)


def test_invalid_expressions_are_dropped_and_duplicates_kept():
    labels = np.array([3, 3, -1, 5])
    found = metrics.expr_score(labels, np.array([3, 3, 0, 3]))
    assert found["rows"] == 3
    assert found["f1_per_class"][3] == pytest.approx(2 * 2 / (2 * 2 + 1))
    twice = metrics.expr_score(np.array([0, 0, 1]), np.array([0, 0, 0]))
    once = metrics.expr_score(np.array([0, 1]), np.array([0, 0]))
    assert twice["score"] != once["score"]


def test_au_is_binary_not_macro():
    labels = np.zeros((4, 12), int)
    labels[:2, 0] = 1
    predictions = np.zeros((4, 12), int)
    predictions[0, 0] = 1
    found = metrics.au_score(labels, predictions)
    assert found["f1_per_class"][0] == pytest.approx(2 / 3)
    assert found["score"] == pytest.approx(2 / 3 / 12)  # units that never occur count 0, not 1 and not nan
    assert f1_score(labels[:, 0], predictions[:, 0], average="macro") > 2 / 3


def test_au_rows_with_any_invalid_unit_are_dropped_whole():
    labels = np.ones((3, 12), int)
    labels[1] = -1
    labels[2, 5] = -1
    predictions = np.ones((3, 12), int)
    predictions[1:] = 0
    assert metrics.au_score(labels, predictions)["rows"] == 1
    assert metrics.au_score(labels, predictions)["score"] == 1.0


def test_au_refuses_scores():
    with pytest.raises(MienError, match="apply the thresholds"):
        metrics.au_score(np.zeros((2, 12), int), np.full((2, 12), 0.4))


def test_ccc_by_hand_with_population_moments():
    x, y = np.array([0.0, 1.0, 2.0]), np.array([0.0, 2.0, 4.0])
    # means 1 and 2, variances 2/3 and 8/3, covariance 4/3
    assert ccc(x, y) == pytest.approx(2 * (4 / 3) / (2 / 3 + 8 / 3 + 1))
    assert ccc(x, x) == pytest.approx(1.0)


@pytest.mark.parametrize(("x", "y"), [([], []), ([0.3], [0.3]), ([0.5, 0.5], [0.1, 0.9]), ([0.1, 0.9], [0.5, 0.5])])
def test_ccc_without_variance_or_with_one_point(x, y):
    assert ccc(np.array(x), np.array(y)) == 0.0


def test_va_is_pooled_and_masked():
    labels = np.array([[0.1, 0.2], [-5, -5], [0.5, -5], [0.3, 0.6], [-0.4, 0.0]])
    predictions = labels.copy()
    predictions[1:3] = 0.9  # masked rows must not matter
    found = metrics.va_score(labels, predictions)
    assert found["rows"] == 3
    assert found["score"] == pytest.approx(1.0)


def test_mtl_adds_the_three_with_masks_of_their_own():
    rows = 6
    generator = np.random.default_rng(0)
    labels = {
        "va": generator.uniform(-1, 1, (rows, 2)),
        "expression": np.array([0, 1, -1, 3, 4, 5]),
        "aus": generator.integers(0, 2, (rows, 12)),
    }
    labels["va"][0] = -5
    labels["aus"][1] = -1
    found = metrics.mtl_score(
        labels, {key: np.maximum(value, 0) if key == "aus" else value for key, value in labels.items()}
    )
    assert (found["va"]["rows"], found["expr"]["rows"], found["au"]["rows"]) == (5, 5, 5)
    assert found["score"] == pytest.approx(found["va"]["score"] + found["expr"]["score"] + found["au"]["score"])
    assert found["expr"]["score"] == pytest.approx(5 / 8)


def test_nan_and_shapes_are_refused():
    with pytest.raises(MienError, match="NaN"):
        metrics.va_score(np.zeros((2, 2)), np.array([[np.nan, 0], [0, 0]]))
    with pytest.raises(MienError, match="shape"):
        metrics.expr_score(np.zeros(3, int), np.zeros(4, int))


def test_no_valid_rows():
    assert metrics.expr_score(np.full(3, -1), np.zeros(3, int))["score"] == 0.0
    assert metrics.au_score(np.full((3, 12), -1), np.zeros((3, 12), int))["score"] == 0.0
    assert metrics.va_score(np.full((3, 2), -5.0), np.zeros((3, 2)))["score"] == 0.0


def test_baselines():
    labels = np.array([0] * 6 + [4] * 2)
    best = metrics.constant_baseline("expr", labels)
    assert best["score"] == pytest.approx(2 * 6 / (6 + 8) / 8)
    units = np.zeros((4, 12), int)
    units[:2] = 1
    assert metrics.constant_baseline("au", units)["score"] == pytest.approx(2 * 2 / (2 + 4))
    assert metrics.constant_baseline("va", np.random.default_rng(0).uniform(-1, 1, (9, 2)))["score"] == 0
    assert 0 < metrics.chance_baseline("expr", np.arange(800) % 8, seed=1)["score"] < 0.25
    mtl = {"va": np.zeros((4, 2)), "expression": np.zeros(4, int), "aus": units}
    assert metrics.constant_baseline("mtl", mtl)["score"] == pytest.approx(1 / 8 + 2 / 3)
