"""The optimiser and its learning rate: linear warm-up, then half a cosine (Loshchilov & Hutter 2017, as in MAE)."""

import math
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import Field
from timm.models._manipulate import group_with_matcher
from torch import nn, optim

from models.system import Trainee
from pipeline.core.params import Section

HEADS = ""  # a name that no matcher knows, so its layer is that of the heads


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


def layer_scales(module: Trainee, decay: float) -> dict[str, float]:
    """Factor of each parameter's rate under layer decay (Bao et al. 2022, BEiT, as MAE fine-tunes).

    Heads move at the full rate, a layer of a backbone at `decay` times the rate of the layer above it. Layers are
    those of the backbone's own `group_matcher` (timm); without one it is a single layer. Networks of different depths
    each decay from their own last layer.
    """
    scales = {name: 1.0 for name, _ in module.named_parameters()}
    for prefix in module.backbones():
        network: Any = module.get_submodule(prefix)
        matcher = network.group_matcher() if hasattr(network, "group_matcher") else {"stem": "^."}
        names = [(name, name) for name in [*(name for name, _ in network.named_parameters()), HEADS]]
        layers = group_with_matcher(iter(names), matcher, reverse=True)
        scales |= {f"{prefix}.{name}": decay ** (layers[HEADS] - layers[name]) for name, _ in names[:-1]}
    return scales


def parameter_groups(module: Trainee, params: Optimise) -> list[dict]:
    """Trained parameters by their rate's factor and by whether they are decayed: biases, norms and what the module
    names are not.
    """
    keep, scales = module.no_weight_decay(), layer_scales(module, params.layer_decay)
    grouped: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and not any(fnmatchcase(name, pattern) for pattern in keep)
            grouped.setdefault((scales[name], decayed), []).append(parameter)
    return [
        {"params": parameters, "lr_scale": scale, "weight_decay": params.weight_decay * decayed}
        for (scale, decayed), parameters in grouped.items()
    ]


def make_optimiser(module: Trainee, params: Optimise) -> optim.Optimizer:
    """The optimiser over `parameter_groups`.

    A child with a constant rate of its own is not scaled, not decayed, and moves as under Adam's defaults.
    """
    groups = parameter_groups(module, params)
    for child, rate in module.constant_rates().items():
        own = list(module.get_submodule(child).parameters())
        for group in groups:
            group["params"] = [p for p in group["params"] if not any(p is other for other in own)]
        groups.append({"params": own, "weight_decay": 0.0, "constant_rate": rate, "betas": (0.9, 0.999)})
    groups = [group for group in groups if group["params"]]
    rate = params.learning_rate
    if params.optimiser == "sgd":
        return optim.SGD(groups, lr=rate, momentum=params.momentum)
    return optim.AdamW(groups, lr=rate, betas=(params.momentum, params.second_moment), fused=True)


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
