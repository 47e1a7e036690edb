"""mini-Xception's parameters out of Keras' names and order of axes, in those of models/mini_xception.py.

Keras numbers the layers of each kind in the order in which the author's code makes them, from wherever its session
stood: plain convolutions are the first two, a shortcut a block and the classifier, separable ones two a block, norms
the first two and in each block the shortcut's before the others.
"""

import re

import torch
from torch import Tensor

from pipeline.core.errors import MienError

BLOCKS = range(4)
PLAIN = ("conv1", "conv2", *(f"blocks.{block}.shortcut" for block in BLOCKS), "head")
SEPARABLE = tuple(f"blocks.{block}.separable{place}" for block in BLOCKS for place in (1, 2))
NORMS = (
    *("norm1", "norm2"),
    *(f"blocks.{block}.{norm}" for block in BLOCKS for norm in ("shortcut_norm", "norm1", "norm2")),
)
NORM_PARTS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def mini_xception_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """The parameters by our names; None where the layers are not as many as that network has.

    Raises `MienError` for one that it does not have, and `KeyError` for one that is not there.
    """
    kinds = ("conv2d", "separable_conv2d", "batch_normalization")
    plain, separable, norms = (_layers(tensors, kind) for kind in kinds)
    if (len(plain), len(separable), len(norms)) != (len(PLAIN), len(SEPARABLE), len(NORMS)):
        return None
    names = {f"{ours}.weight": f"{layer}.kernel" for ours, layer in zip(PLAIN, plain, strict=True)}
    names["head.bias"] = f"{plain[-1]}.bias"
    for ours, layer in zip(SEPARABLE, separable, strict=True):
        names |= {f"{ours}.{part}.weight": f"{layer}.{part}_kernel" for part in ("depthwise", "pointwise")}
    for ours, layer in zip(NORMS, norms, strict=True):
        names |= {f"{ours}.{part}": f"{layer}.{keras}" for part, keras in NORM_PARTS.items()}
    if strange := sorted(tensors.keys() - set(names.values())):
        raise MienError(f"{strange[0]} has no place in a mini_xception, whose output would be another")
    counts = {f"{ours}.num_batches_tracked": torch.tensor(0) for ours in NORMS}
    return counts | {ours: _turned(ours, tensors[keras]) for ours, keras in names.items()}


def _layers(tensors: dict[str, Tensor], kind: str) -> list[str]:
    """Names of the layers of a kind, in the order in which they were made."""
    found = {match[1]: int(match[2] or 0) for name in tensors if (match := re.match(rf"({kind}(?:_(\d+))?)\.", name))}
    return sorted(found, key=lambda layer: found[layer])


def _turned(name: str, tensor: Tensor) -> Tensor:
    """A kernel (height, width, inputs, outputs) as (outputs, inputs, height, width); depthwise: inputs first."""
    if tensor.ndim != 4:
        return tensor
    order = (2, 3, 0, 1) if ".depthwise." in name else (3, 2, 0, 1)
    return tensor.permute(order)
