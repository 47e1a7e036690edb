"""One training spread over ranks, a device each, so that what comes of it is what one process would give.

The global batch is kept: every rank draws, decodes and changes the same whole batch, a function of (seed, step) as
ever, and computes on every n-th row of it. Losses and moments of the whole batch are exchanged where they are computed
(`models/across.py`), gradients are averaged here, after backward and not within it as DDP does: a trainee may take
several optimiser steps on one batch, of other parameters each, and through methods that are not `forward`.

What differs from one process is the order of sums, and what dropout and drop path draw: each rank for its own rows.
"""

import datetime
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.across import own_rows, rank, share_batch_norms, unshared_norms, world
from models.system import Batch, Trainee
from pipeline.backbones.device import device
from pipeline.core.errors import MienError
from pipeline.run.ranks import HelperDone, is_helper, ranks, stand_alone

BUCKET_BYTES = 32 << 20
PATIENCE = datetime.timedelta(days=7)  # one rank judges while the others wait; the launcher ends those of a dead one


def join(name: str, module: Trainee, first: Batch) -> None:
    """Become a rank among others where the launcher started several and the training can be split.

    Where it cannot, one line says why, rank 0 goes on alone and the others leave. `first` is a batch as drawn.
    """
    if ranks() == 1:
        return
    if why := unfit(module, first, ranks()):
        if is_helper():
            raise HelperDone
        print(f"{name}: trained on one device: {why}", flush=True)
        stand_alone()
        return
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device().type == "cuda" else "gloo", timeout=PATIENCE)
    share_batch_norms(module)
    print(f"{name}: trained by {world()} processes, each on 1/{world()} of every batch", flush=True)


def unfit(module: Trainee, first: Batch, count: int) -> str:
    """Why a training cannot be split among `count` ranks; empty where it can."""
    if norms := unshared_norms(module):
        return f"{norms[0]} takes its moments from a part of the batch"
    sizes = {len(tensor) for tensor in first.values()}
    if odd := [size for size in sorted(sizes) if size % count]:
        return f"{odd[0]} rows of a batch do not divide by {count}"
    return ""


def leave() -> None:
    """After the last step: helpers end here, rank 0 goes on as an ordinary process."""
    if world() == 1:
        return
    helper = not is_first()
    dist.barrier()
    dist.destroy_process_group()
    if helper:
        raise HelperDone


def is_first() -> bool:
    """Whether this process tells, judges and writes."""
    return rank() == 0


def own_part(batch: Batch) -> Batch:
    """This rank's rows of a batch."""
    return {name: own_rows(tensor) for name, tensor in batch.items()} if world() > 1 else batch


def agreed(number: int) -> int:
    """What rank 0 says."""
    if world() == 1:
        return number
    told = torch.tensor(number, device=device())
    dist.broadcast(told, 0)
    return int(told)


def check_same(step: int, name: str) -> None:
    """Refuse ranks that would go on from different checkpoints; wait for all of them to have read theirs."""
    if world() == 1:
        return
    steps = torch.tensor([step, -step], device=device())
    dist.all_reduce(steps, dist.ReduceOp.MAX)
    if int(steps.sum()):
        raise MienError(f"{name}: the processes found different checkpoints; let them see the same .work/")


def take_first(tensors: Iterable[Tensor]) -> None:
    """Rank 0's values in place of one's own."""
    if world() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.data, 0)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over ranks; all ranks have gradients of the same parameters."""
    if world() == 1:
        return
    for bucket in _buckets(p.grad for p in parameters if p.grad is not None):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        flat /= world()
        for gradient, mean in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one type, some tens of megabytes at a time: few messages, and little memory beside."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        held = sum(g.nbytes for g in bucket)
        if bucket and (held + gradient.nbytes > BUCKET_BYTES or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
