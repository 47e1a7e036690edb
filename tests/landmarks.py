"""Five landmarks of a face, and pictures that show where they are."""

import torch
from torch import Tensor

LANDMARKS = torch.tensor([[-0.35, -0.3], [0.3, -0.25], [0.05, 0.1], [-0.25, 0.4], [0.2, 0.45]])
SWAPPED = [1, 0, 2, 4, 3]


def dots(pixels: int) -> Tensor:
    """Five images (5, 3, P, P), each with a bright spot at one landmark."""
    axis = (torch.arange(pixels) + 0.5) / pixels * 2 - 1
    squares = (axis[None, None] - LANDMARKS[:, 0, None, None]) ** 2 + (axis[:, None] - LANDMARKS[:, 1, None, None]) ** 2
    return ((-squares / 0.004).exp() * 255).byte()[:, None].expand(-1, 3, -1, -1)


def places(images: Tensor) -> Tensor:
    """Centre of what is bright (B, 2), in [-1, 1]."""
    axis = (torch.arange(images.shape[-1]) + 0.5) / images.shape[-1] * 2 - 1
    weight = images[:, 0] / images[:, 0].sum(dim=(1, 2), keepdim=True)
    return torch.stack([(weight.sum(dim=1) * axis).sum(dim=1), (weight.sum(dim=2) * axis).sum(dim=1)], dim=1)
