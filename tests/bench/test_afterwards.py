"""Rules on a system's scores: fitted on validation alone, applied to the test list."""

import numpy as np
import pyarrow as pa
import pytest

from bench.afterwards import BY_COLUMN, BY_PRIOR, ONE_HALF, OWN, SHRUNK, SMOOTHED, fitted_answer, gated
from pipeline.abaw.metrics import ccc
from pipeline.settings import load_params
from pipeline.tables.scores import Tasks

FRAMES = 60


def axis() -> pa.Table:
    """Two recordings of thirty frames."""
    videos = np.repeat(["one", "two"], FRAMES // 2)
    return pa.table({"video": videos, "base_video": videos, "frame": np.tile(np.arange(1, FRAMES // 2 + 1), 2)})


def answer(rule: str, track: str, judged: Tasks, test: Tasks, labels: Tasks) -> Tasks:
    return fitted_answer(rule, track, (axis(), judged), (axis(), test), labels, load_params().ensemble)


def noisy_and_fast() -> tuple[np.ndarray, np.ndarray]:
    """Valence and arousal (N, 2), and scores: valence's flicker and should not, arousal's flicker and should."""
    slow, fast = np.sin(np.arange(FRAMES) / 8) / 2, np.where(np.arange(FRAMES) % 2, 0.5, -0.5)
    return np.stack([slow, fast], axis=1), np.stack([slow + fast, fast], axis=1)


def test_each_column_has_the_window_that_suits_it():
    labels, scores = noisy_and_fast()
    found = {
        rule: answer(rule, "va", {"va": scores}, {"va": scores}, {"va": labels})["va"] for rule in (OWN, BY_COLUMN)
    }
    assert found[OWN] == pytest.approx(scores)
    assert ccc(labels[:, 0], found[BY_COLUMN][:, 0]) > 0.9 > ccc(labels[:, 0], found[OWN][:, 0])
    assert found[BY_COLUMN][:, 1] == pytest.approx(scores[:, 1])  # smoothed, it would be flat


def test_one_window_for_all_is_smoothed_alike():
    slow = np.repeat(np.sin(np.arange(FRAMES) / 8)[:, None] / 2, 2, axis=1)
    scores = slow + np.where(np.arange(FRAMES) % 2, 0.4, -0.4)[:, None]
    found = answer(SMOOTHED, "va", {"va": scores}, {"va": scores}, {"va": slow})["va"]
    assert ccc(slow[:, 0], found[:, 0]) > 0.9 and found[:, 0] == pytest.approx(found[:, 1])


def test_a_class_that_is_said_too_often_is_said_less():
    labels = np.tile(np.arange(8), FRAMES)[:FRAMES]
    scores = 0.1 * np.eye(8)[labels] + np.array([0.5, *[0.05] * 7])
    tasks, truth = {"expression": scores}, {"expression": labels}
    assert (answer(OWN, "expr", tasks, tasks, truth)["expression"] == 0).all()
    assert (answer(BY_PRIOR, "expr", tasks, tasks, truth)["expression"] == labels).all()


def test_thresholds_are_validations_and_few_active_frames_move_one_less():
    active = np.zeros((FRAMES, 12), int)
    active[::2, 1:], active[0, 0] = 1, 1  # the first unit is active in one frame
    scores = np.where(active == 1, 0.35, 0.05)
    scores[0, 0], scores[1, 0] = 0.85, 0.75
    labels = {"aus": active}
    found = {
        rule: answer(rule, "au", {"aus": scores}, {"aus": scores}, labels)["aus"] for rule in (ONE_HALF, OWN, SHRUNK)
    }
    assert found[ONE_HALF][:, 1:].sum() == 0 and found[ONE_HALF][:2, 0].tolist() == [1, 1]
    assert (found[OWN] == active).all()
    assert (found[SHRUNK][:, 1:] == active[:, 1:]).all() and found[SHRUNK][1, 0] == 1  # near the common threshold


def test_sure_frames_pass_the_gate_where_that_helps():
    labels = np.arange(FRAMES) % 8
    temporal = np.full((FRAMES, 8), 0.1) + 0.1 * np.eye(8)[np.zeros(FRAMES, int)]  # always the first class
    sure = np.where(np.arange(FRAMES)[:, None] % 2, np.eye(8)[labels], 1 / 8)
    scores = {side: {"expression": temporal} for side in ("judged", "test")}
    gate = {"judged": {"expression": sure}, "test": {"expression": sure[::-1]}}
    found = gated("expr", scores, gate, {"expression": labels})
    assert (found["judged"]["expression"].argmax(axis=1) == np.where(np.arange(FRAMES) % 2, labels, 0)).all()
    assert (found["test"]["expression"].argmax(axis=1) == np.where(np.arange(FRAMES) % 2, 0, labels[::-1])).all()
    wrong = {side: {"expression": np.roll(np.eye(8)[labels], 1, axis=1)} for side in scores}
    assert (gated("expr", scores, wrong, {"expression": labels})["test"]["expression"] == temporal).all()
