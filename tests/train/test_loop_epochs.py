"""The training loop: patience and epochs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from models.system import Batch, Trainee
from pipeline.train.checkpoint import load_checkpoint
from pipeline.train.loop import train
from tests.train.toys import ADAMW, SGD, Killed, Line, killed_at, same, training

pytestmark = pytest.mark.usefixtures("on_the_cpu")


# --- patience --------------------------------------------------------------------------------------------------------


def scripted(scores: list[float], seen: list[dict[str, Tensor]]) -> Callable[[Trainee], dict[str, float]]:
    """Scores by the number of times that the module was judged before."""

    def judge(module: Trainee) -> dict[str, float]:
        seen.append({name: tensor.clone() for name, tensor in module.state_dict().items()})
        return {"score": scores[len(seen) - 1]}

    return judge


@pytest.mark.parametrize(
    ("scores", "patience", "judged", "best"),
    [
        ([0.1, 0.5, 0.4, 0.3, 0.9, 0.9], 2, 4, 1),
        ([0.1, 0.5, 0.4, 0.6, 0.5, 0.4], 2, 6, 3),
        ([0.5, 0.5, 0.5, 0.9, 0.9, 0.9], 2, 3, 0),  # as good is not better
        ([0.5, 0.4, 0.9, 0.1, 0.1, 0.1], 1, 2, 0),
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.0], 0, 6, 0),
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.6], 6, 6, 5),
    ],
)
def test_patience_ends_training(tmp_path, scores, patience, judged, best):
    seen: list[dict[str, Tensor]] = []
    run = training(tmp_path, evaluate=scripted(scores, seen), evaluate_every=2, patience=patience)
    state = train(run).state_dict()
    rows = [(row["step"], row["score"]) for row in run.history if "score" in row]
    assert rows == [(2 * (number + 1), score) for number, score in enumerate(scores[:judged])]
    assert [all(torch.equal(s[n], state[n]) for n in state) for s in seen] == [n == best for n in range(judged)]


def test_a_run_out_of_patience_leaves_a_checkpoint(tmp_path):
    scores = scripted([0.5, 0.4, 0.3, 0.2, 0.1, 0.0], [])
    train(training(tmp_path, evaluate=scores, evaluate_every=2, patience=2, checkpoint_seconds=1e9))
    found = load_checkpoint(tmp_path)
    assert found is not None and found[0] == 6


@pytest.mark.parametrize("death", [3, 5, 6, 7])
def test_patience_survives_a_kill(tmp_path, death):
    scores = [0.1, 0.5, 0.4, 0.3, 0.9, 0.9]  # the fourth, after eight steps, is the last
    settings: dict[str, Any] = {"evaluate_every": 2, "patience": 2, "checkpoint_seconds": 1e-9}
    undisturbed = training(tmp_path / "a", evaluate=scripted(scores, []), **settings)
    expected = train(undisturbed)
    seen: list[dict[str, Tensor]] = []
    judge = scripted(scores, seen)
    with pytest.raises(Killed):
        train(training(tmp_path / "b", evaluate=judge, batches=killed_at(death), **settings))
    resumed = training(tmp_path / "b", evaluate=judge, **settings)
    assert same(train(resumed), expected) and len(seen) == 4
    assert resumed.history == undisturbed.history


def test_a_run_that_lost_its_patience_is_not_taken_up_again(tmp_path):
    settings: dict[str, Any] = {"evaluate_every": 2, "patience": 2, "checkpoint_seconds": 1e-9}
    first = training(tmp_path, evaluate=scripted([0.5, 0.4, 0.3], []), **settings)
    expected = train(first)
    second = training(tmp_path, evaluate=scripted([], []), batches=killed_at(6), **settings)
    assert same(train(second), expected) and second.history == first.history
    found = load_checkpoint(tmp_path)
    assert found is not None and found[0] == 6


# --- epochs ----------------------------------------------------------------------------------------------------------


class Scaled(Line):
    """Its loss depends on a buffer that changes once an epoch."""

    level: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.ones(()))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"square": self.level * super().losses(batch)["square"]}


@torch.no_grad()
def raise_level(module: Trainee, averaged: Trainee) -> dict[str, float]:
    """Depends on the buffer, on both modules' weights and on chance."""
    assert isinstance(module, Scaled) and isinstance(averaged, Scaled)
    move = module.layer.weight.sum() + 0.3 * averaged.layer.bias.sum() + 0.1 * torch.rand(())
    module.level.add_(0.2 * move.tanh())
    averaged.level.copy_(module.level)
    return {"level": float(module.level)}


@pytest.mark.parametrize("ema_decay", [0.0, 0.8])
def test_epochs_end_after_their_steps_with_both_modules(tmp_path, ema_decay):
    calls: list[tuple[bool, bool, float]] = []
    events: list[tuple[str, int]] = []

    def after_epoch(module: Trainee, averaged: Trainee) -> dict[str, float]:
        assert isinstance(module, Scaled) and isinstance(averaged, Scaled)
        gap = float((module.layer.weight - averaged.layer.weight).abs().max().detach())
        calls.append((module is averaged, averaged.training, gap))
        module.level += 1
        averaged.level.copy_(module.level)
        return {"level": float(module.level)}

    run = training(
        tmp_path,
        module=Scaled,
        optimise=SGD.model_copy(update={"ema_decay": ema_decay, "base_learning_rate": 0.01}),
        after_epoch=after_epoch,
        epoch_steps=5,
        evaluate=lambda module: {"score": float(module.level)},
        evaluate_every=5,
        log=lambda metrics, step: events.extend((name, step) for name in metrics if name in ("level", "score")),
    )
    module = run.module
    averaged = train(run)
    assert isinstance(averaged, Scaled)
    assert [(one, mode) for one, mode, _ in calls] == [(not ema_decay, False)] * 2
    assert all((gap > 0) == bool(ema_decay) for *_, gap in calls)
    assert (averaged is module) == (not ema_decay)
    # an epoch ends before the evaluation after the same step, and the twelfth step ends none
    assert events == [("level", 5), ("score", 5), ("level", 10), ("score", 10), ("score", 12)]
    rows = [{k: row[k] for k in row if k in ("step", "level", "score")} for row in run.history if "loss" not in row]
    assert rows == [
        {"step": 5, "level": 2.0},
        {"step": 5, "score": 2.0},
        {"step": 10, "level": 3.0},
        {"step": 10, "score": 3.0},
        {"step": 12, "score": averaged.level.item()},
    ]


SETTINGS = {
    "sgd": SGD.model_copy(update={"momentum": 0.9}),
    "adamw and average": ADAMW.model_copy(update={"ema_decay": 0.8}),
    "gathered": ADAMW.model_copy(update={"accumulate": 2}),
}


@pytest.mark.parametrize("optimise", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("death", [2, 3, 4, 11])
def test_a_killed_run_with_epochs_ends_in_the_same_bits(tmp_path, optimise, death):
    settings: dict[str, Any] = {"module": Scaled, "optimise": optimise, "after_epoch": raise_level, "epoch_steps": 3}
    settings |= {"checkpoint_seconds": 1e-9}
    undisturbed = training(tmp_path / "a", **settings)
    expected = train(undisturbed)
    with pytest.raises(Killed):
        train(training(tmp_path / "b", **settings, batches=killed_at(death)))
    resumed = training(tmp_path / "b", **settings)
    torch.rand(17)  # another history of draws
    assert same(train(resumed), expected) and resumed.history == undisturbed.history
    assert len([row for row in resumed.history if "level" in row]) == 4 and expected.level != 1
