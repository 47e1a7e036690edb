"""From uint8 pictures to what a network was trained on: each with its own mean, deviation and order of colours."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.vit import MEAN, STD, normalise


class Normalise(nn.Module):
    """uint8 RGB (B, 3, H, W) to float32, `mean` taken off and divided by `std` (both for values in [0, 1]).

    `bgr` hands the channels over in OpenCV's order, with `mean` and `std` in that order too. Our own networks expect
    [-1, 1], the default.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, mean: Sequence[float] = (MEAN,) * 3, std: Sequence[float] = (STD,) * 3, bgr: bool = False
    ) -> None:
        super().__init__()
        # `normalise` has already taken our own mean and deviation off; what is left to reach the network's
        shift, scale = (torch.tensor(mean).view(-1, 1, 1) - MEAN) / STD, torch.tensor(std).view(-1, 1, 1) / STD
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.bgr = bgr

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) to float32 of the same shape."""
        ordered = images.flip(1) if self.bgr else images
        return (normalise(ordered) - self.shift) / self.scale
