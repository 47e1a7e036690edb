"""The training loop where a batch is not a step: gathered gradients, several steps a batch, constant rates."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.system import Batch, Trainee
from pipeline.train.loop import train
from pipeline.train.optimiser import learning_rate
from tests.train.toys import ADAMW, SGD, STEPS, Killed, Line, Pair, draw, killed_at, same, training

pytestmark = pytest.mark.usefixtures("on_the_cpu")


# --- gathered gradients ----------------------------------------------------------------------------------------------


def layer_of(module: Trainee) -> nn.Linear:
    assert isinstance(module, Line)
    return module.layer


@pytest.mark.parametrize("clip_norm", [1e9, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_two_batches_of_eight_are_one_of_sixteen(tmp_path, clip_norm, momentum):
    faces = torch.rand(STEPS, 2, 8, 4)
    parts = iter(faces.flatten(0, 1))
    change = {"clip_norm": clip_norm, "momentum": momentum, "base_learning_rate": 1.6}
    whole = training(
        tmp_path / "a",
        batches=lambda generator, step: {"x": faces[step].flatten(0, 1)},
        optimise=SGD.model_copy(update=change | {"batch": 16}),
    )
    halves = training(
        tmp_path / "b",
        batches=lambda generator, step: {"x": next(parts)},
        optimise=SGD.model_copy(update=change | {"batch": 8, "accumulate": 2}),
    )
    start = layer_of(whole.module).weight.clone()
    expected, found = layer_of(train(whole)), layer_of(train(halves))
    torch.testing.assert_close(found.weight, expected.weight)
    torch.testing.assert_close(found.bias, expected.bias)
    assert (expected.weight - start).norm() > 0.05 and next(parts, None) is None
    norms = [[row["gradient_norm"] for row in run.history] for run in (whole, halves)]
    assert norms[0] == pytest.approx(norms[1], abs=2e-6) and norms[0][0] > 0.1
    rates = [[row["learning_rate"] for row in run.history] for run in (whole, halves)]
    assert rates[0] == rates[1] and rates[0][0] == pytest.approx(0.05)


class Told(Trainee):
    """Its loss is the mean of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"told": batch["x"].mean() + 0 * self.weight}


def test_the_loss_of_gathered_batches_is_their_mean(tmp_path):
    values = iter([4.0, 0.0] * STEPS)
    optimise = SGD.model_copy(update={"accumulate": 2})
    run = training(tmp_path, Told, optimise=optimise, batches=lambda *_: {"x": torch.tensor([next(values)])})
    train(run)
    assert {row["loss"] for row in run.history if "loss" in row} == {2.0}


def test_gathered_batches_of_a_step_are_drawn_one_after_the_other(tmp_path):
    seen: list[tuple[int, Tensor]] = []

    def batches(generator: np.random.Generator, step: int) -> Batch:
        batch = draw(generator, step)
        seen.append((step, batch["x"]))
        return batch

    train(training(tmp_path, batches=batches, optimise=SGD.model_copy(update={"steps": 3, "accumulate": 3})))
    assert [step for step, _ in seen] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert not torch.equal(seen[0][1], seen[1][1])


# --- several steps a batch -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_second_step_sees_what_the_first_did(tmp_path, momentum):
    means = torch.linspace(-1, 1, STEPS)
    run = training(
        tmp_path,
        module=Pair,
        batches=lambda generator, step: {"x": means[step].expand(4)},
        optimise=SGD.model_copy(update={"momentum": momentum}),
    )
    module = train(run)
    assert isinstance(module, Pair)
    first, second, push, pull, losses = 3.0, -1.0, 0.0, 0.0, []
    for step, mean in enumerate(means.tolist()):
        rate = learning_rate(step, SGD)
        losses.append([(first - mean) ** 2, 0.0])
        push = momentum * push + 2 * (first - mean)
        first -= rate * push
        losses[-1][1] = (second - first) ** 2
        pull = momentum * pull + 2 * (second - first)
        second -= rate * pull
    assert module.first.item() == pytest.approx(first, abs=1e-5)
    assert module.second.item() == pytest.approx(second, abs=1e-5)
    rows = [(row["step"], row["loss_first"], row["loss_second"], row["loss"]) for row in run.history]
    expected = [(step, *losses[step], sum(losses[step])) for step in (0, 10, 11)]
    assert np.array(rows) == pytest.approx(np.array(expected), abs=1e-5)


def test_each_step_moves_only_what_its_loss_reaches(tmp_path):
    """AdamW would decay the other parameter, and its momentum would move it, if it took part in every step."""

    class Watched(Pair):
        def steps(self, batch: Batch) -> Iterator[dict[str, Tensor]]:
            places = [(self.first.item(), self.second.item())]
            for parts in super().steps(batch):
                yield parts
                places.append((self.first.item(), self.second.item()))
            (before, between, after) = places
            assert before[0] != between[0] == after[0] and before[1] == between[1] != after[1]

    decaying = ADAMW.model_copy(update={"weight_decay": 0.5})
    run = training(tmp_path, module=Watched, optimise=decaying, count_flops=False)  # a count steps no parameter
    module = train(run)
    assert isinstance(module, Watched) and module.second.item() != -1


@pytest.mark.parametrize("optimizer", [SGD.model_copy(update={"momentum": 0.9}), ADAMW], ids=["sgd", "adamw"])
def test_a_killed_run_of_two_steps_a_batch_ends_in_the_same_bits(tmp_path, optimizer):
    settings = {"module": Pair, "optimise": optimizer, "checkpoint_seconds": 1e-9}
    undisturbed = training(tmp_path / "a", **settings)
    expected = train(undisturbed)
    with pytest.raises(Killed):
        train(training(tmp_path / "b", **settings, batches=killed_at(7)))
    resumed = training(tmp_path / "b", **settings)
    assert same(train(resumed), expected) and resumed.history == undisturbed.history


# --- constant rates --------------------------------------------------------------------------------------------------


class Mixed(Trainee):
    """A loss whose gradient is always one, so that a parameter moves by the sum of its rates."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.tail = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"sum": self.body.weight.sum() + self.tail.weight.sum()}

    def constant_rates(self) -> dict[str, float]:
        return {"tail": 0.02}


def test_a_constant_rate_does_not_follow_the_schedule(tmp_path):
    run = training(tmp_path, module=Mixed)
    assert isinstance(run.module, Mixed)
    body, tail = run.module.body.weight.item(), run.module.tail.weight.item()
    module = train(run)
    assert isinstance(module, Mixed)
    scheduled = sum(learning_rate(step, SGD) for step in range(STEPS))
    assert module.body.weight.item() == pytest.approx(body - scheduled, abs=1e-5)
    assert module.tail.weight.item() == pytest.approx(tail - STEPS * 0.02, abs=1e-5)


class Slow(Trainee):
    """A body that gathers, and a head of a constant rate."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 1), nn.Linear(4, 1)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        target = batch["x"].sum(dim=1)
        return {
            name: (layer(batch["x"])[:, 0] - target).square().mean()
            for name, layer in (("body", self.body), ("head", self.head))
        }

    def constant_rates(self) -> dict[str, float]:
        return {"head": 0.01}


def test_a_head_of_a_constant_rate_steps_after_each_pass_as_published(tmp_path):
    """Its path is that of an Adam of its own over every micro-batch; the body's that of gathered gradients."""
    faces = torch.rand(STEPS * 3, 8, 4)
    parts = iter(faces)
    loop = training(
        tmp_path,
        Slow,
        batches=lambda generator, step: {"x": next(parts)},
        optimise=ADAMW.model_copy(update={"clip_norm": 1e9, "accumulate": 3, "batch": 8}),
    )
    alone = nn.Linear(4, 1)
    assert isinstance(loop.module, Slow)
    alone.load_state_dict(loop.module.head.state_dict())
    optimiser = torch.optim.AdamW(alone.parameters(), lr=0.01, weight_decay=0.0)
    for x in faces:
        loss = (alone(x)[:, 0] - x.sum(dim=1)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    trained = train(loop)
    assert isinstance(trained, Slow)
    torch.testing.assert_close(trained.head.weight, alone.weight, atol=1e-6, rtol=1e-5)
