"""The training loop: a killed run ends in the bits of an undisturbed one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.standardise import Standardise
from models.system import Batch, Trainee
from pipeline.core.errors import MienError
from pipeline.train.checkpoint import load_checkpoint
from pipeline.train.loop import Loop, train
from tests.train.toys import OPTIMISE, STEPS, Killed, draw, flip_a_byte, killed_at, same


class Toy(Trainee):
    """Two layers with dropout, so that the order of random draws shows, and running moments between them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 8), Standardise(8), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, 1)
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"square": (self.layers(batch["x"])[:, 0] - batch["x"].sum(dim=1)).square().mean()}


def jitter(batch: Batch) -> Batch:
    return {"x": batch["x"] + torch.rand_like(batch["x"]) * 0.1}


@torch.no_grad()
def evaluate(module: Trainee) -> dict[str, float]:
    assert not module.training
    return {"score": -float(module.losses({"x": torch.ones(4, 4) * 0.5})["square"])}


def training(folder: Path, **changes: Any) -> Loop:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "name": "toy",
        "module": Toy(),
        "batches": draw,
        "prepare": jitter,
        "optimise": OPTIMISE,
        "seed": 5,
        "folder": folder,
        "log": lambda metrics, step: None,
        "checkpoint_seconds": 1e-9,
    }
    return Loop(**settings | changes)


SETTINGS = {
    "plain": {},
    "ema": {"optimise": OPTIMISE.model_copy(update={"ema_decay": 0.8})},
    "best": {"evaluate": evaluate, "evaluate_every": 2},
    "ema and best": {
        "optimise": OPTIMISE.model_copy(update={"ema_decay": 0.8}),
        "evaluate": evaluate,
        "evaluate_every": 3,
    },
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("death", [1, 5, STEPS - 1])
def test_a_killed_run_ends_in_the_same_bits(tmp_path, settings, death, capsys):
    undisturbed = training(tmp_path / "a", **settings)
    expected = train(undisturbed)
    with pytest.raises(Killed):
        train(training(tmp_path / "b", **settings | {"batches": killed_at(death)}))
    resumed = training(tmp_path / "b", **settings)
    torch.rand(17)  # another history of draws
    assert same(train(resumed), expected)
    assert f"toy: resumed after step {death}" in capsys.readouterr().out
    assert resumed.history == undisturbed.history


def test_a_killed_run_with_its_last_checkpoint_damaged_ends_in_the_same_bits(tmp_path):
    expected = train(training(tmp_path / "a"))
    with pytest.raises(Killed):
        train(training(tmp_path / "b", batches=killed_at(7)))
    flip_a_byte(tmp_path / "b" / "00000007.safetensors")
    assert same(train(training(tmp_path / "b")), expected)


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = train(training(tmp_path, checkpoint_seconds=1e9))  # the end is always kept
    second = training(tmp_path, batches=killed_at(0), checkpoint_seconds=1e9)
    assert same(train(second), first) and second.history[-1]["step"] == STEPS - 1


def test_a_run_without_time_for_checkpoints_starts_anew(tmp_path):
    with pytest.raises(Killed):
        train(training(tmp_path, batches=killed_at(6), checkpoint_seconds=1e9))
    assert load_checkpoint(tmp_path) is None


def test_training_depends_on_the_seed_and_learns(tmp_path):
    longer = OPTIMISE.model_copy(update={"steps": 60})
    first = training(tmp_path / "a", optimise=longer, checkpoint_seconds=1e9)
    module = train(first)
    losses = [row["loss"] for row in first.history]
    assert losses[-1] < 0.5 * losses[0] and first.history[-1]["step"] == 59
    assert not module.training
    other = train(training(tmp_path / "b", seed=6, optimise=longer, checkpoint_seconds=1e9))
    assert not same(module, other)


def test_the_best_step_is_returned(tmp_path):
    scores = iter([0.1, 0.7, 0.7, 0.3])
    seen: list[dict[str, Tensor]] = []

    def judge(module: Trainee) -> dict[str, float]:
        seen.append({name: tensor.clone() for name, tensor in module.state_dict().items()})
        return {"score": next(scores)}

    run = training(tmp_path, evaluate=judge, evaluate_every=3)
    state = train(run).state_dict()
    assert [row["score"] for row in run.history if "score" in row] == [0.1, 0.7, 0.7, 0.3]
    assert [row["step"] for row in run.history if "score" in row] == [3, 6, 9, 12]
    matches = [all(torch.equal(step[name], state[name]) for name in state) for step in seen]
    assert matches == [False, True, False, False]  # the first of equals


def test_each_score_that_is_asked_for_has_a_best_step_of_its_own(tmp_path):
    scores = [(0.1, 0.9), (0.7, 0.2), (0.5, 0.3), (0.6, 0.1)]
    seen: list[dict[str, Tensor]] = []

    def judge(module: Trainee) -> dict[str, float]:
        seen.append({name: tensor.clone() for name, tensor in module.state_dict().items()})
        score, other = scores[len(seen) - 1]
        return {"score": score, "score_va": other}

    settings: dict[str, Any] = {"evaluate": judge, "evaluate_every": 3, "checkpoint_seconds": 1e-9}
    with pytest.raises(Killed):
        train(training(tmp_path, batches=killed_at(7), **settings))
    run = training(tmp_path, **settings)  # a killed run has not forgotten the first of them
    state = train(run).state_dict()
    assert len(seen) == 4 and set(run.bests) == {"score", "score_va"}
    assert all(torch.equal(state[name], seen[1][name]) for name in state)
    assert all(torch.equal(run.bests["score_va"][name], seen[0][name]) for name in state)


def first_weight(module: Any) -> Tensor:
    return module.layers[0].weight


def test_the_average_is_what_is_judged_and_kept(tmp_path):
    """With a decay near 1 the averaged weights hardly leave their start, the trained ones do."""
    slow = OPTIMISE.model_copy(update={"ema_decay": 0.999})
    average = first_weight(train(training(tmp_path / "a", optimise=slow)))
    trained = first_weight(train(training(tmp_path / "b")))
    start = first_weight(training(tmp_path / "c").module)
    assert (average - start).norm() < 0.5 * (trained - start).norm()


@pytest.mark.parametrize("step_of_nan", [0, 6])
def test_a_loss_that_is_no_number_is_told(tmp_path, step_of_nan):
    def batches(generator: np.random.Generator, step: int) -> Batch:
        batch = draw(generator, step)
        return {"x": batch["x"] * float("nan")} if step == step_of_nan else batch

    with pytest.raises(MienError, match=r"toy: the loss is nan at step \d+; lower the learning rate"):
        train(training(tmp_path, batches=batches))


def test_metrics_are_logged_with_their_steps(tmp_path):
    logged: list[tuple[int, set[str]]] = []
    run = training(tmp_path, log=lambda metrics, step: logged.append((step, set(metrics))))
    train(run)
    names = {"loss", "loss_square", "gradient_norm", "learning_rate"}
    ends = [(0, {"resumed_at_step"}), (12, {"judging_share", "input_wait_share"}), (12, {"gflops_a_second"})]
    assert logged == [ends[0], (0, names), (10, names), (11, names), *ends[1:]]
    assert run.history[0]["learning_rate"] == pytest.approx(0.025)
