"""The pool of unlabelled faces and its views."""

import numpy as np
import torch

from models.augment import strengthen
from models.system import Batch
from pipeline.base.params import Augment, Strong
from pipeline.crops import Crops
from pipeline.errors import MienError
from pipeline.layout import EXTRA
from pipeline.train.augmenting import augmenter


class UnlabelledFaces:
    """All faces of the pool, each as likely as another."""

    def __init__(self, pixels: int) -> None:
        self.crops = Crops(EXTRA)
        self.pixels = pixels
        if not len(self.crops):
            raise MienError("there is no unlabelled face; add pictures to the release's pool or drop this system")

    def sample(self, generator: np.random.Generator, size: int) -> torch.Tensor:
        """uint8 (size, 3, pixels, pixels)."""
        return torch.from_numpy(self.crops.images(generator.integers(0, len(self.crops), size), self.pixels))


def views(images: torch.Tensor, change: Augment, strong: Strong, pixels: int) -> Batch:
    """Two weak views and a strong one of unlabelled faces: the weak change, and RandAugment and cutout before it."""
    weaken = augmenter(change, pixels)
    weak, other = (weaken({"images": images})["images"] for _ in range(2))
    changed = strengthen(images, strong.operations, strong.cutout_side_fraction)
    return {"weak": weak, "other_weak": other, "strong": weaken({"images": changed})["images"]}
