"""Random change of a batch's images on the device, as params ask for it."""

from collections.abc import Callable

from models.augment import augment
from models.system import Batch
from pipeline.base.params import Augment


def augmenter(change: Augment, pixels: int) -> Callable[[Batch], Batch]:
    """A function that replaces a batch's images (B, 3, H, W) by changed ones (B, 3, pixels, pixels)."""
    sizes = change.model_dump()
    return lambda batch: batch | {"images": augment(batch["images"], pixels, **sizes)}
