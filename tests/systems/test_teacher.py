"""The teacher on frozen features, and which of its answers count."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.abaw.tracks import EXPRESSIONS
from pipeline.systems.teacher import AuTeacher, au_labels, expression_labels, pseudo_table, threshold_history
from pipeline.tables.curves import write_curve

CENTRES = {0: (0, 0), 2: (6, 0), 5: (0, 6)}


def clouds(seed: int, each: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, 2) around the centre of each class, as float16, and the classes."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(list(CENTRES), each)
    return (np.array([CENTRES[c] for c in labels]) + generator.normal(0, 0.5, (len(labels), 2))).astype(
        np.float16
    ), labels


def units_of(labels: np.ndarray) -> np.ndarray:
    """Twelve units, of which the first is class 2."""
    return np.repeat((labels == 2)[:, None], 12, axis=1).astype(int)


def test_invalid_labels_teach_nothing():
    features, labels = clouds(0)
    stray, units = np.full((40, 2), 6, np.float16), units_of(labels)
    alone = AuTeacher(features, units, 1.0).probabilities(features)
    more = AuTeacher(np.r_[features, stray], np.r_[units, np.full((40, 12), -1)], 1.0).probabilities(features)
    assert np.array_equal(alone, more)
    taught = AuTeacher(np.r_[features, stray], np.r_[units, np.zeros((40, 12), int)], 1.0).probabilities(features)
    assert not np.array_equal(alone, taught)


def test_stronger_regularisation_is_less_sure():
    (features, labels), (others, _) = clouds(0), clouds(1)
    found = (AuTeacher(features, units_of(labels), c).probabilities(others) for c in (10.0, 1e-4))
    weak, strong = (np.maximum(p, 1 - p).mean() for p in found)
    assert weak > strong + 0.1


def test_au_teacher_learns_units_and_keeps_constants():
    features, labels = clouds(0)
    units = np.full((len(labels), 12), -1)
    units[:, 0] = labels == 2
    units[:, 1] = 0
    units[:, 2] = 1
    units[:60, 3] = labels[:60] == 0  # partly labelled
    found = AuTeacher(features, units, 1.0).probabilities(clouds(1)[0])
    assert found.shape == (len(labels), 12)
    assert ((found[:, 0] >= 0.5) == (clouds(1)[1] == 2)).mean() > 0.98
    assert (found[:, 1] == 0).all() and (found[:, 2] == 1).all()
    assert (found[:, 4:] == 0.5).all()  # never labelled: no opinion
    assert ((found[:80, 3] >= 0.5) == (clouds(1)[1][:80] == 0)).mean() > 0.98


def test_expression_labels_reach_the_threshold_of_their_class():
    probabilities = np.array([[0.1, 0.9], [0.45, 0.55], [0.8, 0.2], [0.79, 0.21], [0.2, 0.8]])
    labels, confidence = expression_labels(probabilities, np.array([0.8, 0.55]))
    assert labels.tolist() == [1, 1, 0, -1, 1] and confidence.tolist() == [0.9, 0.55, 0.8, 0.79, 0.8]
    assert expression_labels(probabilities, np.array([0.5, 0.85]))[0].tolist() == [1, -1, 0, 0, -1]


def test_au_labels_accept_unit_by_unit():
    labels, confidence = au_labels(np.array([[0.95, 0.05, 0.5], [0.7, 0.3, 0.8], [0.79, 0.81, 0.2]]), 0.8)
    assert labels.tolist() == [[1, 0, -1], [-1, -1, 1], [-1, 1, 0]]
    assert confidence == pytest.approx(np.array([[0.95, 0.95, 0.5], [0.7, 0.7, 0.8], [0.79, 0.81, 0.8]]))


def test_pseudo_tables():
    axis = pa.table({"video": ["a", "b"], "frame": pa.array([1, 2], pa.int32()), "feature": [[1.0], [2.0]]})
    flat = pseudo_table(axis, "expression", np.array([3, -1]), np.array([0.9, 0.4]))
    assert flat.column_names == ["video", "frame", "expression", "confidence"]
    assert flat["expression"].to_pylist() == [3, -1] and flat["expression"].type == pa.int8()
    units = pseudo_table(axis, "aus", np.array([[1, -1], [0, 1]]), np.full((2, 2), 0.5))
    assert units["aus"].to_pylist() == [[1, -1], [0, 1]] and units["confidence"].to_pylist() == [[0.5, 0.5]] * 2


def test_the_history_of_thresholds_is_what_the_curve_tells_of_them(tmp_path):
    thresholds = [{f"threshold_{name}": value + c / 100 for c, name in enumerate(EXPRESSIONS)} for value in (0.8, 0.81)]
    rows = [{"step": 0, "loss": 2.0}, {"step": 40, **thresholds[0]}, {"step": 40, "score": 0.3}]
    write_curve(tmp_path / "curve.csv", [*rows, {"step": 80, **thresholds[1]}])
    first, second = threshold_history(tmp_path / "curve.csv", EXPRESSIONS)
    assert list(first) == ["step", *EXPRESSIONS] and (first["step"], second["step"]) == (40, 80)
    assert list(first.values())[1:] == pytest.approx([0.8 + c / 100 for c in range(8)])
    assert list(second.values())[1:] == pytest.approx([0.81 + c / 100 for c in range(8)])
    write_curve(tmp_path / "curve.csv", rows[:1])
    assert threshold_history(tmp_path / "curve.csv", EXPRESSIONS) == []
