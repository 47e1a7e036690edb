"""From uint8 pictures to what a network was trained on: each with its own mean, deviation and order of colours."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from models.vit import MEAN, STD, normalise

Colours = Literal["rgb", "bgr", "grey"]
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey: ITU-R BT.601, as OpenCV and JPEG have it


class Normalise(nn.Module):
    """uint8 RGB (B, 3, H, W) to float32, `mean` taken off and divided by `std` (both for values in [0, 1]).

    `colours`: "bgr" hands the channels over in OpenCV's order, with `mean` and `std` in that order too; "grey" makes
    one channel of them. Our own networks expect RGB in [-1, 1], the default.
    """

    shift: Tensor
    scale: Tensor
    luma: Tensor

    def __init__(
        self, mean: Sequence[float] = (MEAN,) * 3, std: Sequence[float] = (STD,) * 3, colours: Colours = "rgb"
    ) -> None:
        super().__init__()
        # `normalise` has already taken our own mean and deviation off; what is left to reach the network's
        shift, scale = (torch.tensor(mean).view(-1, 1, 1) - MEAN) / STD, torch.tensor(std).view(-1, 1, 1) / STD
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("luma", torch.tensor(LUMA).view(-1, 1, 1), persistent=False)
        self.colours = colours

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) to float32 of the same shape, or (B, 1, H, W) where it is grey."""
        ordered = images.flip(1) if self.colours == "bgr" else images
        values = (normalise(ordered) - self.shift) / self.scale
        return (values * self.luma).sum(dim=1, keepdim=True) if self.colours == "grey" else values
