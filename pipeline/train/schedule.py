"""Learning rate: linear warm-up, then half a cosine (Loshchilov & Hutter 2017, as in MAE)."""

import math

from torch import optim

from pipeline.base.params import Optimise


def learning_rate(step: int, params: Optimise) -> float:
    """Rate of a 0-based step."""
    if step < params.warmup_steps:
        return params.learning_rate * (step + 1) / params.warmup_steps
    progress = (step - params.warmup_steps) / max(1, params.steps - params.warmup_steps)
    low, high = params.min_learning_rate, params.learning_rate
    return low + (high - low) * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: optim.Optimizer, rate: float) -> None:
    """Apply a rate to all groups, each scaled by its layer decay (timm's `lr_scale`), but those with a constant one."""
    for group in optimizer.param_groups:
        group["lr"] = group.get("constant_rate") or rate * group.get("lr_scale", 1.0)
