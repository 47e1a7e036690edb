"""The training loop where a batch is not a step: gathered gradients, several steps a batch, patience, epochs."""

import ctypes
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.system import Batch, Trainee
from pipeline.base.params import Optimise
from pipeline.train.checkpoint import load_checkpoint
from pipeline.train.loop import Training, train
from pipeline.train.memory import keep_freed_memory
from pipeline.train.schedule import learning_rate

STEPS = 12
SGD = Optimise(
    optimizer="sgd",
    batch=256,
    steps=STEPS,
    warmup_steps=2,
    base_learning_rate=0.1,
    min_learning_rate=0.01,
    momentum=0.0,
    weight_decay=0.0,
    layer_decay=1.0,
    clip_norm=1e9,
    ema_decay=0.0,
)
ADAMW = SGD.model_copy(update={"optimizer": "adamw", "momentum": 0.9, "weight_decay": 0.05, "clip_norm": 1.0})


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """In single precision: on a GPU the loop computes in bfloat16."""
    monkeypatch.setattr("pipeline.train.loop.device", lambda: torch.device("cpu"))


class Line(Trainee):
    """Least squares."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"square": (self.layer(batch["x"])[:, 0] - batch["x"].sum(dim=1)).square().mean()}


def draw(generator: np.random.Generator, step: int, rows: int = 16) -> Batch:
    return {"x": torch.from_numpy(generator.random((rows, 4), np.float32)) + step * 0.01}


def training(folder: Path, module: type[Trainee] = Line, **changes: Any) -> Training:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "name": "toy",
        "module": module(),
        "batches": draw,
        "prepare": lambda batch: batch,
        "optimise": SGD,
        "seed": 5,
        "folder": folder,
        "log": lambda metrics, step: None,
        "checkpoint_seconds": 1e9,
    }
    return Training(**settings | changes)


class Killed(Exception):
    pass


def killed_at(step_of_death: int) -> Callable[[np.random.Generator, int], Batch]:
    def batches(generator: np.random.Generator, step: int) -> Batch:
        if step == step_of_death:
            raise Killed
        return draw(generator, step)

    return batches


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(m == n and torch.equal(x, y) for (m, x), (n, y) in pairs)


# --- gathered gradients ----------------------------------------------------------------------------------------------


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
    start = whole.module.layer.weight.clone()
    expected, found = train(whole).layer, train(halves).layer
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


class Pair(Trainee):
    """Two numbers: the first is pulled to the batch's mean, the second to where the first then is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.tensor(3.0)), nn.Parameter(torch.tensor(-1.0))

    def steps(self, batch: Batch) -> Iterator[dict[str, Tensor]]:
        yield {"first": (self.first - batch["x"].mean()).square()}
        known = self.first.detach().clone()
        yield {"second": (self.second - known).square(), "idle": 0 * self.second}


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

    run = training(tmp_path, module=Watched, optimise=ADAMW.model_copy(update={"weight_decay": 0.5}))
    assert train(run).second.item() != -1


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
    body, tail = run.module.body.weight.item(), run.module.tail.weight.item()
    module = train(run)
    scheduled = sum(learning_rate(step, SGD) for step in range(STEPS))
    assert module.body.weight.item() == pytest.approx(body - scheduled, abs=1e-5)
    assert module.tail.weight.item() == pytest.approx(tail - STEPS * 0.02, abs=1e-5)


# --- patience --------------------------------------------------------------------------------------------------------


def scripted(scores: list[float], seen: list[dict[str, Tensor]]) -> Callable[[Trainee], float]:
    """Scores by the number of times that the module was judged before."""

    def judge(module: Trainee) -> float:
        seen.append({name: tensor.clone() for name, tensor in module.state_dict().items()})
        return scores[len(seen) - 1]

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
    settings = {"evaluate_every": 2, "patience": 2, "checkpoint_seconds": 1e-9}
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
    settings = {"evaluate_every": 2, "patience": 2, "checkpoint_seconds": 1e-9}
    first = training(tmp_path, evaluate=scripted([0.5, 0.4, 0.3], []), **settings)
    expected = train(first)
    second = training(tmp_path, evaluate=scripted([], []), batches=killed_at(6), **settings)
    assert same(train(second), expected) and second.history == first.history
    assert load_checkpoint(tmp_path)[0] == 6


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
        evaluate=lambda module: float(module.level),
        evaluate_every=5,
        log=lambda metrics, step: events.extend((name, step) for name in metrics if name in ("level", "score")),
    )
    module = run.module
    averaged = train(run)
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
    settings = {"module": Scaled, "optimise": optimise, "after_epoch": raise_level, "epoch_steps": 3}
    settings |= {"checkpoint_seconds": 1e-9}
    undisturbed = training(tmp_path / "a", **settings)
    expected = train(undisturbed)
    with pytest.raises(Killed):
        train(training(tmp_path / "b", **settings, batches=killed_at(death)))
    resumed = training(tmp_path / "b", **settings)
    torch.rand(17)  # another history of draws
    assert same(train(resumed), expected) and resumed.history == undisturbed.history
    assert len([row for row in resumed.history if "level" in row]) == 4 and expected.level != 1


@pytest.mark.parametrize("optimizer", [SGD.model_copy(update={"momentum": 0.9}), ADAMW], ids=["sgd", "adamw"])
def test_a_killed_run_of_two_steps_a_batch_ends_in_the_same_bits(tmp_path, optimizer):
    settings = {"module": Pair, "optimise": optimizer, "checkpoint_seconds": 1e-9}
    undisturbed = training(tmp_path / "a", **settings)
    expected = train(undisturbed)
    with pytest.raises(Killed):
        train(training(tmp_path / "b", **settings, batches=killed_at(7)))
    resumed = training(tmp_path / "b", **settings)
    assert same(train(resumed), expected) and resumed.history == undisturbed.history


PAGES_TAKEN = """
import ctypes, resource, sys
from pipeline.train.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.mallopt(-2, 0)  # no padding at the top: what malloc may give back, it gives back
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    block = libc.malloc(8 << 20)
    ctypes.memset(block, 1, 8 << 20)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc has this setting")
def test_freed_memory_is_kept_for_the_next_update():
    """50 blocks of 2,048 pages: new ones each time, or the first one's again."""
    root = Path(__file__).parents[1]
    taken = {
        kind: int(
            subprocess.run([sys.executable, "-c", PAGES_TAKEN, kind], cwd=root, capture_output=True, check=True).stdout
        )
        for kind in ("plain", "kept")
    }
    assert taken["kept"] < 5_000 < 50_000 < taken["plain"]


def test_keeping_memory_asks_nothing_of_other_libraries(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_freed_memory()
