"""The teacher on frozen features, and which of its answers count."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import MienError
from pipeline.pseudo import AuTeacher, ExpressionTeacher, au_labels, expression_labels, fixed_threshold, pseudo_table

CENTRES = {0: (0, 0), 2: (6, 0), 5: (0, 6)}


def clouds(seed: int, each: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, 2) around the centre of each class, as float16, and the classes."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(list(CENTRES), each)
    return (np.array([CENTRES[c] for c in labels]) + generator.normal(0, 0.5, (len(labels), 2))).astype(
        np.float16
    ), labels


def test_expression_teacher_learns_and_gives_absent_classes_nothing():
    teacher = ExpressionTeacher(*clouds(0), classes=8, regularisation=1.0)
    features, labels = clouds(1)
    found = teacher.probabilities(features)
    assert found.shape == (len(labels), 8)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(labels)))
    assert (found.argmax(axis=1) == labels).mean() > 0.98
    assert not found[:, [1, 3, 4, 6, 7]].any() and (found[:, [0, 2, 5]] > 0).all()


def test_invalid_labels_teach_nothing():
    features, labels = clouds(0)
    stray = np.full((40, 2), 6, np.float16)
    alone = ExpressionTeacher(features, labels, 8, 1.0).probabilities(features)
    more = ExpressionTeacher(np.r_[features, stray], np.r_[labels, [-1] * 40], 8, 1.0).probabilities(features)
    assert np.array_equal(alone, more)


@pytest.mark.parametrize("labels", [[-1, -1, -1], [3, 3, -1]])
def test_a_teacher_without_two_expressions_is_told(labels):
    with pytest.raises(MienError, match="two expressions"):
        ExpressionTeacher(np.zeros((3, 2)), np.array(labels), 8, 1.0)


def test_stronger_regularisation_is_less_sure():
    features, _ = clouds(1)
    weak, strong = (ExpressionTeacher(*clouds(0), 8, c).probabilities(features).max(axis=1) for c in (10.0, 1e-4))
    assert weak.mean() > strong.mean() + 0.1


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


def test_threshold_accepts_what_reaches_it():
    assert fixed_threshold(np.array([0.79, 0.8, 0.81]), 0.8).tolist() == [False, True, True]


def test_expression_labels():
    labels, confidence = expression_labels(np.array([[0.1, 0.9], [0.45, 0.55], [0.8, 0.2]]), 0.8)
    assert labels.tolist() == [1, -1, 0] and confidence.tolist() == [0.9, 0.55, 0.8]


def test_au_labels_accept_unit_by_unit():
    labels, confidence = au_labels(np.array([[0.95, 0.05, 0.5], [0.7, 0.3, 0.8]]), 0.8)
    assert labels.tolist() == [[1, 0, -1], [-1, -1, 1]]
    assert confidence == pytest.approx(np.array([[0.95, 0.95, 0.5], [0.7, 0.7, 0.8]]))


def test_pseudo_tables():
    axis = pa.table({"video": ["a", "b"], "frame": pa.array([1, 2], pa.int32()), "feature": [[1.0], [2.0]]})
    flat = pseudo_table(axis, "expression", np.array([3, -1]), np.array([0.9, 0.4]))
    assert flat.column_names == ["video", "frame", "expression", "confidence"]
    assert flat["expression"].to_pylist() == [3, -1] and flat["expression"].type == pa.int8()
    units = pseudo_table(axis, "aus", np.array([[1, -1], [0, 1]]), np.full((2, 2), 0.5))
    assert units["aus"].to_pylist() == [[1, -1], [0, 1]] and units["confidence"].to_pylist() == [[0.5, 0.5]] * 2
