"""From scores to what is submitted, and predictions on disk."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.abaw import metrics
from pipeline.core.errors import MienError
from pipeline.tables.scores import (
    KEYS,
    baselines,
    decide,
    fill_missing,
    leaves_baselines,
    official_score,
    read_predictions,
    write_predictions,
)


def axis(videos: list[str], frames: list[int]) -> pa.Table:
    size = len(videos)
    return pa.table(
        {
            "split": ["validation"] * size,
            "video": videos,
            "base_video": [video.removesuffix("_left") for video in videos],
            "frame": pa.array(frames, pa.int32()),
            "ordinal": pa.array(range(size), pa.int32()),
            "image": [f"{video}/{frame:05d}.jpg" for video, frame in zip(videos, frames, strict=True)],
            "label": ["not a key"] * size,
        }
    )


def random_scores(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "expression": generator.random((rows, 8)),
        "aus": generator.random((rows, 12)),
        "va": generator.uniform(-1.5, 1.5, (rows, 2)),
    }


def test_decide():
    scores = {
        "expression": np.eye(8)[[3, 7]],
        "aus": np.array([[0.5] * 12, [0.49] * 12]),
        "va": np.array([[1.2, -3.0]]),
    }
    decided = decide(scores)
    assert decided["expression"].tolist() == [3, 7]
    assert decided["aus"].tolist() == [[1] * 12, [0] * 12]  # at the threshold is active
    assert decided["va"].tolist() == [[1.0, -1.0]]
    thresholds = np.linspace(0.1, 0.65, 12)
    own = decide({"aus": np.full((1, 12), 0.3)}, thresholds)
    assert own["aus"].tolist() == [(thresholds <= 0.3).astype(int).tolist()] and set(own) == {"aus"}


def test_fill_missing_interpolates_within_a_video_alone():
    table = axis(["a", "a", "a", "b", "b", "c"], [1, 2, 4, 1, 2, 1])
    present = np.array([True, False, True, False, True, False])
    values = np.array([[0.0, 1.0], [np.nan] * 2, [0.9, 0.1], [np.nan] * 2, [0.4, 0.6], [np.nan] * 2])
    va = fill_missing(table, {"va": values}, present)["va"]
    assert va == pytest.approx(np.array([[0, 1], [0.3, 0.7], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6], [0, 0]]))


def test_fill_missing_guesses_flat_where_a_video_shows_no_face():
    table = axis(["a", "b"], [1, 1])
    gone = {task: np.full_like(values, np.nan) for task, values in random_scores(2).items()}
    filled = fill_missing(table, gone, np.array([False, False]))
    assert filled["expression"] == pytest.approx(np.full((2, 8), 1 / 8))
    assert not filled["aus"].any() and not filled["va"].any()
    decided = decide(filled)
    assert decided["expression"].tolist() == [0, 0]
    assert all(np.isfinite(values).all() for values in filled.values())


def test_predictions_survive_the_disk(tmp_path):
    table, scores = axis(["a", "a", "b_left"], [1, 1, 7]), random_scores(3)
    for values in scores.values():
        values[1] = np.nan
    found = np.array([True, False, True])
    write_predictions(tmp_path / "p.parquet", table, scores, found)
    keys, back, mask = read_predictions(tmp_path / "p.parquet", "mtl")
    assert keys.column_names == list(KEYS) and keys.equals(table.select(list(KEYS)))
    assert mask.dtype == bool and mask.tolist() == found.tolist()
    for task, values in scores.items():
        assert np.array_equal(back[task], values.astype(np.float32), equal_nan=True), task
    assert set(read_predictions(tmp_path / "p.parquet", "au")[1]) == {"aus"}


def test_same_predictions_same_bytes(tmp_path):
    table, scores, found = axis(["a"] * 50, list(range(1, 51))), random_scores(50), np.ones(50, bool)
    for name in ("1", "2"):
        write_predictions(tmp_path / name, table, {task: values.copy() for task, values in scores.items()}, found)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_damaged_predictions_are_told(tmp_path):
    path = tmp_path / "p.parquet"
    with pytest.raises(MienError, match=r"p\.parquet: not readable as Parquet"):
        read_predictions(path, "expr")
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(MienError, match=r"p\.parquet: not readable as Parquet"):
        read_predictions(path, "expr")


def test_official_score_uses_the_track_own_metric():
    generator = np.random.default_rng(0)
    labels = {
        "expression": generator.integers(-1, 8, 200),
        "aus": generator.integers(0, 2, (200, 12)),
        "va": generator.uniform(-1, 1, (200, 2)),
    }
    decided = decide(random_scores(200))
    expr = official_score("expr", {"expression": labels["expression"]}, decided)
    assert expr == metrics.expr_score(labels["expression"], decided["expression"])
    mtl = official_score("mtl", labels, decided)["score"]
    parts = [official_score(t, {k: labels[k]}, decided)["score"] for t, k in (("au", "aus"), ("va", "va"))]
    assert mtl == pytest.approx(expr["score"] + sum(parts))
    six = labels["expression"] % 6
    lsd = official_score("lsd", {"expression": six}, {"expression": six})
    assert lsd["score"] == pytest.approx(1) and len(lsd["f1_per_class"]) == 6
    assert official_score("expr", labels | {"expression": six}, {"expression": six})["score"] == pytest.approx(6 / 8)


def test_baselines():
    labels = np.array([0] * 6 + [1] * 2)
    found = baselines("expr", {"expression": labels})
    assert found["constant"] == pytest.approx(2 * 6 / (2 * 6 + 2) / 8)
    assert 0 < found["chance"] < 0.2
    everything = {"expression": labels, "aus": np.ones((8, 12), int), "va": np.zeros((8, 2))}
    assert baselines("mtl", everything)["constant"] == pytest.approx(found["constant"] + 1.0)


@pytest.mark.parametrize(("right", "leaves"), [(1.0, True), (0.5, True), (0.125, False), (0.0, False)])
def test_what_has_learnt_something_is_told_from_what_has_not(right, leaves):
    """Twenty recordings of forty frames: `right` of the guesses are, the others are drawn."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 8, 800)
    guesses = np.where(generator.random(800) < right, labels, generator.integers(0, 8, 800))
    groups = np.repeat(np.arange(20), 40)
    assert leaves_baselines("expr", {"expression": labels}, {"expression": guesses}, groups) == leaves
    constant = np.full(800, 3)
    assert not leaves_baselines("expr", {"expression": labels}, {"expression": constant}, groups)


def test_one_recording_is_judged_by_its_score():
    labels = np.arange(64) % 8
    one = np.zeros(64)
    assert leaves_baselines("expr", {"expression": labels}, {"expression": labels}, one)
    assert not leaves_baselines("expr", {"expression": labels}, {"expression": np.zeros(64, int)}, one)
