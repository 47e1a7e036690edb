"""Views of faces: random change on the device, as params ask for it, and of the targets that move with them."""

from collections.abc import Callable

import torch
from pydantic import Field

from models.augment import augment, mirrored, move_points, strengthen
from models.system import Batch
from pipeline.core.params import Section


class Augment(Section):
    """Random change of a training crop; each number is the largest change."""

    shift_fraction: float = Field(ge=0, le=0.5)
    zoom_fraction: float = Field(ge=0, lt=1)
    rotate_degrees: float = Field(ge=0, le=180)
    brightness: float = Field(ge=0, le=1)
    contrast: float = Field(ge=0, le=1)
    saturation: float = Field(ge=0, le=1)
    grey_probability: float = Field(ge=0, le=1)
    noise: float = Field(ge=0, le=1)
    erase_fraction: float = Field(ge=0, lt=1)


class Strong(Section):
    """The strong view of an unlabelled face: operations of RandAugment, then cutout."""

    operations: int = Field(ge=0)
    cutout_side_fraction: float = Field(ge=0, lt=1)


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


def views(images: torch.Tensor, change: Augment, strong: Strong, pixels: int) -> Batch:
    """Two weak views and a strong one of unlabelled faces: the weak change, and RandAugment and cutout before it."""
    weaken = augmenter(change, pixels)
    weak, other = (weaken({"images": images})["images"] for _ in range(2))
    changed = strengthen(images, strong.operations, strong.cutout_side_fraction)
    return {"weak": weak, "other_weak": other, "strong": weaken({"images": changed})["images"]}
