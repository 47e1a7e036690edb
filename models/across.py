"""One batch that several processes share, a stride of its rows each: what of it must be known as a whole.

A loss over the batch (a mean under a mask, Lin's concordance) is none of its parts'. `whole` gives every rank all rows
with a gradient, `total` and `average` sums over ranks; in one process each gives back what it got, and costs nothing.
Gradients of parameters are averaged over ranks afterwards (`pipeline/train/distributed.py`); both backwards here sum
over ranks, as that asks: each rank then works on the same loss, and the mean of what reaches a parameter is its
gradient in one process.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _State:
    """Whether this rank works alone for a while, and the stream of draws that all ranks share."""

    alone = False
    shared: torch.Generator | None = None


def world() -> int:
    """Processes that share the batch."""
    return dist.get_world_size() if dist.is_initialized() and not _State.alone else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if world() > 1 else 0


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Within it nothing is exchanged: one rank judges while the others wait."""
    _State.alone = True
    try:
        yield
    finally:
        _State.alone = False


def own_rows(tensor: Tensor) -> Tensor:
    """This rank's rows of a tensor (B, ...): (B / ranks, ...), every so many-th."""
    return tensor[rank() :: world()]


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, part: Tensor) -> Tensor:
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(world())]
        dist.all_gather(parts, part.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)  # the order that `own_rows` took them from

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return own_rows(gradient)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, part: Tensor) -> Tensor:
        part = part.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(part)
        return part

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient


@torch.compiler.disable
def whole(part: Tensor) -> Tensor:
    """Every rank's rows (b, ...) as one tensor (B, ...), in the order of the whole batch."""
    if world() == 1:
        return part
    if part.dtype == torch.bool:
        return _Whole.apply(part.byte()).bool()
    return _Whole.apply(part)


@torch.compiler.disable
def total(part: Tensor) -> Tensor:
    """The sum over ranks."""
    return part if world() == 1 else _Total.apply(part)


def average(part: Tensor) -> Tensor:
    """The mean over ranks."""
    return total(part) / world() if world() > 1 else part


# --- draws -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def own_draws(seed: int, device: torch.device) -> Iterator[None]:
    """Within it dropout draws from a stream of this rank, and `shared_rand` from the one that all ranks share.

    Else the same rows of every rank would lose the same features.
    """
    if world() == 1:
        yield
        return
    default = torch.cuda.default_generators[torch.cuda.current_device()] if device.type == "cuda" else None
    stream = default or torch.default_generator
    _State.shared = torch.Generator(device)
    _State.shared.set_state(stream.get_state())
    stream.manual_seed(seed + rank())
    try:
        yield
    finally:
        stream.set_state(_State.shared.get_state())
        _State.shared = None


@torch.compiler.disable
def shared_rand(rows: int, *shape: int, device: torch.device) -> Tensor:
    """Uniform draws (rows, ...) for this rank's rows, those that one process would draw for the same rows."""
    return own_rows(torch.rand(rows * world(), *shape, device=device, generator=_State.shared))


# --- batch norm ------------------------------------------------------------------------------------------------------


class _SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """A batch norm whose moments are those of the whole batch.

    torch's own `SyncBatchNorm` is for GPUs alone; this one is the same on a CPU. Parameters and buffers keep their
    names.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any (B, C, ...)."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...) to the same."""
        if not self.training or world() == 1:
            return super().forward(input)
        x = input.float()
        others = [0, *range(2, x.ndim)]
        mean = average(x.mean(others))
        variance = average((x - _by_channel(mean, x)).square().mean(others))
        count = world() * x.numel() / x.shape[1]
        self._follow(mean.detach(), variance.detach() * count / max(1.0, count - 1))
        scale = (variance + self.eps).rsqrt() * (1.0 if self.weight is None else self.weight)
        shift = (0.0 if self.bias is None else self.bias) - mean * scale
        return (x * _by_channel(scale, x) + _by_channel(shift, x)).to(input.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def _by_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.ndim - 2))


def share_batch_norms(module: nn.Module) -> None:
    """Have every plain batch norm below `module` take its moments from the whole batch."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) in (nn.BatchNorm1d, nn.BatchNorm2d):
                assert isinstance(child, nn.modules.batchnorm._BatchNorm)
                setattr(parent, name, _shared(child))


def _shared(norm: nn.modules.batchnorm._BatchNorm) -> _SharedBatchNorm:
    made = _SharedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made._parameters, made._buffers = norm._parameters, norm._buffers
    return made.train(norm.training)


def unshared_norms(module: nn.Module) -> list[str]:
    """Classes of batch norms that `share_batch_norms` does not know; `Standardise` shares its moments by itself."""
    known = ("BatchNorm1d", "BatchNorm2d", "Standardise")
    norms = (type(m).__name__ for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return sorted({name for name in norms if name not in known})
