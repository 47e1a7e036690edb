"""Toys for the training loop."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.system import Batch, Trainee
from pipeline.train.loop import Loop
from pipeline.train.optimiser import Optimise

STEPS = 12
OPTIMISE = Optimise(
    batch=256,
    steps=STEPS,
    warmup_steps=4,
    base_learning_rate=0.1,
    min_learning_rate=0.001,
    weight_decay=0.05,
    layer_decay=1.0,
    clip_norm=1.0,
    ema_decay=0.0,
)
SGD = Optimise(
    optimiser="sgd",
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
ADAMW = SGD.model_copy(update={"optimiser": "adamw", "momentum": 0.9, "weight_decay": 0.05, "clip_norm": 1.0})


class Line(Trainee):
    """Least squares."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"square": (self.layer(batch["x"])[:, 0] - batch["x"].sum(dim=1)).square().mean()}


def draw(generator: np.random.Generator, step: int, rows: int = 16) -> Batch:
    return {"x": torch.from_numpy(generator.random((rows, 4), np.float32)) + step * 0.01}


def training(folder: Path, module: type[Trainee] = Line, **changes: Any) -> Loop:
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
    return Loop(**settings | changes)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


class Killed(Exception):
    pass


Batches = Callable[[np.random.Generator, int], Batch]


def killed_at(step_of_death: int | None, batches: Batches = draw) -> Batches:
    """Batches that end the training before a step, or never."""

    def until(generator: np.random.Generator, step: int) -> Batch:
        if step == step_of_death:
            raise Killed
        return batches(generator, step)

    return until


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(m == n and torch.equal(x, y) for (m, x), (n, y) in pairs)


class Pair(Trainee):
    """Two numbers: the first is pulled to the batch's mean, the second to where the first then is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.tensor(3.0)), nn.Parameter(torch.tensor(-1.0))

    def steps(self, batch: Batch) -> Iterator[dict[str, Tensor]]:
        yield {"first": (self.first - batch["x"].mean()).square()}
        known = self.first.detach().clone()
        yield {"second": (self.second - known).square(), "idle": 0 * self.second}
