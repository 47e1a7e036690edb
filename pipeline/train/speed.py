"""How fast a training computes what it computes: all off gives the bytes that it always gave."""

import torch
from torch import nn

from models.system import Batch, Trainee
from pipeline.core.params import Section


class Speed(Section):
    """Levers over time and memory; each leaves what is computed as it is, and may move last digits.

    `compile`: torch.compile of the losses. `gradient_checkpointing`: the blocks of transformers keep no activations and
    compute them again in the backward pass: less memory, a third more time. `channels_last`: convolutions of pictures
    whose channels lie together. `cudnn_benchmark`: the fastest convolution is looked for, which may be another in
    another run.
    """

    compile: bool = False
    gradient_checkpointing: bool = False
    channels_last: bool = False
    cudnn_benchmark: bool = False


def hasten(name: str, module: Trainee, speed: Speed) -> None:
    """Have a module on its device compute as params ask; what cannot be done for it is said in a line."""
    torch.backends.cudnn.benchmark = speed.cudnn_benchmark
    if speed.channels_last:
        module.to(memory_format=torch.channels_last)
    if speed.gradient_checkpointing and not _checkpoint_gradients(module):
        print(f"{name}: no gradient checkpointing: none of its networks is a transformer without batch norms")
    if speed.compile:
        _compile(name, module)


def arranged(batch: Batch, speed: Speed) -> Batch:
    """The pictures of a batch as its networks read them."""
    if not speed.channels_last:
        return batch
    last = torch.channels_last
    return {name: t.contiguous(memory_format=last) if t.ndim == 4 else t for name, t in batch.items()}


def _checkpoint_gradients(module: nn.Module) -> bool:
    """Switch it on in every timm network that has it; a batch norm would see each batch twice, so not there."""
    found = False
    for network in module.modules():
        normed = any(isinstance(inner, nn.modules.batchnorm._BatchNorm) for inner in network.modules())
        if hasattr(network, "set_grad_checkpointing") and not normed:
            network.set_grad_checkpointing(True)  # type: ignore[operator]
            found = True
    return found


def _compile(name: str, module: Trainee) -> None:
    """The losses alone: judging and predicting stay as they are, and so do the names of the weights."""
    if type(module).steps is not Trainee.steps:
        print(f"{name}: not compiled: it takes several optimiser steps on a batch")
        return
    torch._inductor.config.fallback_random = True  # the draws of the eager network
    module.losses = torch.compile(module.losses)  # type: ignore[method-assign]
