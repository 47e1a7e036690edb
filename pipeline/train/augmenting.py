"""Random change of a batch's images on the device, as params ask for it, and of the targets that move with them."""

from collections.abc import Callable

import torch

from models.augment import augment, mirrored, move_points
from models.system import Batch
from pipeline.base.params import Augment


def augmenter(change: Augment, pixels: int) -> Callable[[Batch], Batch]:
    """A function that replaces a batch's images (B, 3, H, W) by changed ones (B, 3, pixels, pixels).

    `landmarks` (B, 10) move with them; the yaw of `pose` (B, 2) turns its sign under a mirror.
    """
    sizes = change.model_dump()

    def prepare(batch: Batch) -> Batch:
        images, affine = augment(batch["images"], pixels, **sizes)
        changed = batch | {"images": images}
        if "landmarks" in batch:
            changed["landmarks"] = move_points(batch["landmarks"].unflatten(1, (5, 2)), affine).flatten(1)
        if "pose" in batch:
            sign = torch.where(mirrored(affine), -1.0, 1.0)
            changed["pose"] = torch.stack([batch["pose"][:, 0] * sign, batch["pose"][:, 1]], dim=1)
        return changed

    return prepare
