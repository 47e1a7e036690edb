"""The optimiser and its learning rate: linear warm-up, then half a cosine (Loshchilov & Hutter 2017, as in MAE)."""

import math
from typing import Literal

from pydantic import Field
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import optim

from models.system import Trainee
from pipeline.backbones.device import device
from pipeline.core.params import Section


class Optimise(Section):
    """Linear warm-up, then half a cosine; the learning rate is per 256 images, as in MAE.

    `accumulate` batches make one step. `momentum` is SGD's, or AdamW's first moment. `steps` are the least, `passes`
    over the data and `most_steps` (0: no bound) tell when there are more (`budget.py`).
    """

    optimiser: Literal["adamw", "sgd"] = "adamw"
    batch: int = Field(ge=1)
    accumulate: int = Field(default=1, ge=1)
    steps: int = Field(ge=1)
    passes: float = Field(default=0.0, ge=0)
    most_steps: int = Field(default=0, ge=0)
    warmup_steps: int = Field(ge=0)
    base_learning_rate: float = Field(gt=0)
    min_learning_rate: float = Field(ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    second_moment: float = Field(default=0.999, gt=0, lt=1)
    weight_decay: float = Field(ge=0)
    layer_decay: float = Field(gt=0, le=1)
    clip_norm: float = Field(gt=0)
    ema_decay: float = Field(ge=0, lt=1)

    @property
    def learning_rate(self) -> float:
        """Peak learning rate at this effective batch."""
        return self.base_learning_rate * self.batch * self.accumulate / 256


def make_optimiser(module: Trainee, params: Optimise) -> optim.Optimizer:
    """The optimiser with layer decay; biases, norms and what the module names are not decayed.

    A child with a constant rate of its own is not scaled, not decayed, and moves as under Adam's defaults.
    """
    keep = module.no_weight_decay()
    groups: list[dict]
    if params.layer_decay < 1:
        groups = param_groups_layer_decay(module, params.weight_decay, keep, layer_decay=params.layer_decay)
    else:
        groups = param_groups_weight_decay(module, params.weight_decay, no_weight_decay_list=keep)
    for child, rate in module.constant_rates().items():
        own = list(module.get_submodule(child).parameters())
        for group in groups:
            group["params"] = [p for p in group["params"] if not any(p is other for other in own)]
        groups.append({"params": own, "weight_decay": 0.0, "constant_rate": rate, "betas": (0.9, 0.999)})
    groups = [group for group in groups if group["params"]]
    rate, on_gpu = params.learning_rate, device().type == "cuda"
    if params.optimiser == "sgd":
        return optim.SGD(groups, lr=rate, momentum=params.momentum)
    return optim.AdamW(groups, lr=rate, betas=(params.momentum, params.second_moment), fused=on_gpu)


def learning_rate(step: int, params: Optimise) -> float:
    """Rate of a 0-based step."""
    if step < params.warmup_steps:
        return params.learning_rate * (step + 1) / params.warmup_steps
    progress = (step - params.warmup_steps) / max(1, params.steps - params.warmup_steps)
    low, high = params.min_learning_rate, params.learning_rate
    return low + (high - low) * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimiser: optim.Optimizer, rate: float) -> None:
    """Apply a rate to all groups, each scaled by its layer decay (timm's `lr_scale`), but those with a constant one."""
    for group in optimiser.param_groups:
        group["lr"] = group.get("constant_rate") or rate * group.get("lr_scale", 1.0)
