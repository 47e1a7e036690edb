"""What the tests of networks share: pictures, a backbone of pixels, plain formulations."""

import torch
from torch import Tensor, nn

from models.backbone import Backbone

VIT = {"image_pixels": 16, "patch_pixels": 4, "width": 16, "depth": 2, "heads": 2}  # 16 patches


def pictures(batch: int, pixels: int = 16) -> Tensor:
    return torch.randint(0, 256, (batch, 3, pixels, pixels), dtype=torch.uint8)


def pixel_backbone(pixels: int) -> Backbone:
    """Features are the pixels themselves, in [-1, 1]."""
    return Backbone(nn.Flatten(), 3 * pixels**2, pixels)


def enliven(module: nn.Module, size: float = 0.5) -> None:
    """Parameters far from their small start, so that every part of a formula shows."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=size)


def plain_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Each row's, from the definition."""
    return torch.stack([row.exp().sum().log() - row[label] for row, label in zip(logits, labels, strict=True)])


def gradients(loss: Tensor, module: nn.Module) -> list[bool]:
    """Whether the loss reaches each parameter."""
    found = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)
    return [grad is not None and bool(grad.any()) for grad in found]
