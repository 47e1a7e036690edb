"""Judging: only the faces that the official score depends on, and none of them twice."""

from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from bench.jobs import recipe
from pipeline.tables.scores import Tasks, read_predictions
from pipeline.train.data import Axis, judged_rows
from pipeline.train.fit import best_scores, fit, judge, seed_weights, write_results


def labels_of(track: str, generator: np.random.Generator, rows: int) -> Tasks:
    """Random labels of a track, of which a part is invalid."""
    lost = generator.random((3, rows)) < 0.7
    every: Tasks = {
        "expression": np.where(lost[0], -1, generator.integers(0, 8, rows)),
        "aus": np.where(lost[1][:, None], -1, generator.integers(0, 2, (rows, 12))),
        "va": np.where(lost[2][:, None], -5.0, generator.uniform(-1, 1, (rows, 2))),
    }
    names = {"expr": ["expression"], "au": ["aus"], "va": ["va"], "mtl": list(every)}[track]
    return {name: every[name] for name in names}


@pytest.mark.parametrize("track", ["expr", "au", "va", "mtl"])
def test_the_score_is_that_of_all_faces(track):
    generator = np.random.default_rng(0)
    for _ in range(20):
        frames, found = np.arange(1, 41), generator.random(160) < 0.8
        table = pa.table({"video": np.repeat(list("abcd"), 40), "frame": np.tile(frames, 4)})
        axis, labels = Axis(table, table.filter(found)), labels_of(track, generator, 160)
        scores = {
            task: generator.random((160, 8 if task == "expression" else values.shape[1]))
            for task, values in labels.items()
        }
        judged = judged_rows(axis, labels)
        seen = {task: np.where(judged.present[:, None], values, np.nan) for task, values in scores.items()}
        assert judged.present.sum() < axis.present.sum()
        assert judge(track, judged, labels, seen) == judge(track, axis, labels, scores)


def counted(made: Any) -> list[np.ndarray]:
    """Which rows each call of `scores` shows the system, from now on."""
    shown: list[np.ndarray] = []
    scores = made.scores

    def watched(module: Any, axis: Axis) -> Tasks:
        shown.append(axis.present)
        return scores(module, axis)

    made.scores = watched
    return shown


@pytest.mark.parametrize("every", [True, False])
def test_the_best_steps_scores_are_published_without_predicting_again(mini, tiny, tmp_path, every):
    """Where they hold all faces; a process that has not seen the best step predicts them, to the same bytes."""
    seed_weights(tiny.finetune)
    made = recipe("vit", "au", tiny)
    data = cast(Any, made.data)
    data.judged = data.validation if every else data.validation.only(np.arange(len(data.validation)) % 2 == 0)
    shown = counted(made)
    module, training = fit("vit", made, tiny.finetune, tmp_path / "work", lambda metrics, step: None)
    assert [rows.tolist() for rows in shown] == [data.judged.present.tolist()] * 2  # evaluations
    for folder, calls in (("a", 1 if every else 2), ("b", 2)):
        shown.clear()
        (tmp_path / folder).mkdir()
        write_results(tmp_path / folder, made, module, training)
        assert len(shown) == calls and shown[-1].tolist() == data.test.present.tolist()
        made.best = None
    for name in ("validation.parquet", "test.parquet", "metrics.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_scores_of_a_later_step_are_not_taken_for_the_best_ones(mini, tiny, tmp_path, monkeypatch):
    seed_weights(tiny.finetune)
    made = recipe("vit", "au", tiny)
    falling = iter([0.9, 0.1])
    monkeypatch.setattr("pipeline.train.fit.validation_score", lambda *_: {"score": next(falling)})
    module, _ = fit("vit", made, tiny.finetune, tmp_path, lambda metrics, step: None)
    assert made.best is not None
    for task, values in made.scores(module, cast(Any, made.data).judged).items():
        assert np.array_equal(values, made.best[task], equal_nan=True)
    assert best_scores(made, module) is made.best


def test_each_task_may_keep_its_own_best_step(mini, tiny, tmp_path, monkeypatch):
    """Valence and arousal are best at the first evaluation, the rest and the sum at the second."""
    seed_weights(tiny.finetune)
    made = recipe("vit", "mtl", tiny)
    made.train = made.train.model_copy(update={"best_of": "each_task"})
    told = [(0.5, 0.9, 0.1, 0.1), (0.9, 0.2, 0.3, 0.4)]
    scripted = iter([{"score": s, "va": {"score": v}, "expr": {"score": e}, "au": {"score": a}} for s, v, e, a in told])
    monkeypatch.setattr("pipeline.train.fit.validation_score", lambda *_: next(scripted))
    module, training = fit("vit", made, tiny.finetune, tmp_path / "work", lambda metrics, step: None)
    assert set(training.bests) == {"score", "score_va", "score_expr", "score_au"}
    sums = made.scores(module, made.data.validation)
    write_results(tmp_path, made, module, training)
    found = read_predictions(tmp_path / "validation.parquet", "mtl")[1]
    for task in ("expression", "aus"):
        assert np.array_equal(found[task], sums[task], equal_nan=True)
    assert not np.array_equal(found["va"], sums["va"], equal_nan=True)
    own = load_file(tmp_path / "weights-va.safetensors")
    assert all(torch.equal(own[name], tensor) for name, tensor in training.bests["score_va"].items())
    whole = load_file(tmp_path / "weights.safetensors")
    assert all(torch.equal(whole[name], tensor) for name, tensor in training.bests["score"].items())
    assert [row["score_va"] for row in training.history if "score_va" in row] == [0.9, 0.2]
