"""Batches made while the step before them runs: the same ones, and nothing else changes."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.jobs import recipe
from models.system import Batch
from pipeline.train import loop
from pipeline.train.fit import fit, seed_weights
from pipeline.train.loop import train
from tests.train.toys import SGD, Killed, draw, killed_at, same, training


def one_by_one(items: Any) -> Any:
    """In place of `prefetched`: each batch is made when the loop asks for it."""
    yield from items


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_same_bits_as_one_batch_after_the_other(tmp_path, monkeypatch, accumulate):
    optimise = SGD.model_copy(update={"accumulate": accumulate})
    ahead = training(tmp_path / "a", optimise=optimise)
    trained = train(ahead)
    monkeypatch.setattr(loop, "prefetched", one_by_one)
    behind = training(tmp_path / "b", optimise=optimise)
    assert same(train(behind), trained)
    assert behind.history == ahead.history


@pytest.mark.parametrize(("system", "track"), [("vit", "au"), ("dtm", "expr"), ("feedback", "expr"), ("emma", "mtl")])
def test_systems_end_in_the_same_bits(mini, tiny, tmp_path, monkeypatch, system, track):
    def run(folder: Path) -> tuple[Any, list]:
        seed_weights(tiny.finetune)
        module, training = fit(system, recipe(system, track, tiny), tiny.finetune, folder, lambda metrics, step: None)
        return module, training.history

    trained, history = run(tmp_path / "a")
    monkeypatch.setattr(loop, "prefetched", one_by_one)
    again, same_history = run(tmp_path / "b")
    assert same(again, trained) and same_history == history


def test_the_next_batch_is_made_while_a_step_runs(tmp_path):
    made = [threading.Event() for _ in range(SGD.steps)]
    step = iter(range(SGD.steps))

    def batches(generator: np.random.Generator, number: int) -> Batch:
        made[number].set()
        return draw(generator, number)

    def prepare(batch: Batch) -> Batch:
        following = next(step) + 1
        assert following == SGD.steps or made[following].wait(timeout=30)
        return batch

    train(training(tmp_path, batches=batches, prepare=prepare))


def test_global_states_are_the_main_threads_alone(tmp_path):
    """A batch that is made meanwhile must not move what the step draws."""
    drawn = []

    def prepare(batch: Batch) -> Batch:
        drawn.append(torch.rand(1).item())
        return batch

    train(training(tmp_path / "a", prepare=prepare))
    expected = drawn.copy()
    drawn.clear()
    train(training(tmp_path / "b", prepare=prepare, batches=lambda g, step: {"x": draw(g, step)["x"] * 2}))
    assert drawn == expected


def test_what_a_batch_raises_is_raised_where_it_is_due(tmp_path):
    run = training(tmp_path, batches=killed_at(7), checkpoint_seconds=0)
    before = threading.active_count()
    with pytest.raises(Killed):
        train(run)
    assert sorted(path.stem for path in tmp_path.glob("*.json"))[-1] == "00000007"
    assert threading.active_count() <= before
