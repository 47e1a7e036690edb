"""Random change of a whole batch of crops on the device: one geometric warp, then light, colour, noise and erasing."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from models.rand_augment import rand_augment


def _uniform(batch: int, low: float, high: float, device: torch.device) -> Tensor:
    return torch.empty(batch, device=device).uniform_(low, high)


def random_affine(
    batch: int, shift_fraction: float, zoom_fraction: float, rotate_degrees: float, device: torch.device
) -> Tensor:
    """Random shift, zoom, rotation and mirroring (B, 2, 3), from output to input places, both in [-1, 1]."""
    angle = _uniform(batch, -1, 1, device) * math.radians(rotate_degrees)
    scale = 1 / (1 + _uniform(batch, -1, 1, device) * zoom_fraction)
    mirror = torch.where(_uniform(batch, 0, 1, device) < 0.5, -1.0, 1.0)
    shift = torch.empty(batch, 2, device=device).uniform_(-2 * shift_fraction, 2 * shift_fraction)
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = [cosine * mirror, -sine, shift[:, 0], sine * mirror, cosine, shift[:, 1]]
    return torch.stack(rows, 1).view(-1, 2, 3)


def warp(images: Tensor, affine: Tensor, pixels: int) -> Tensor:
    """Move each image: uint8 (B, 3, H, W) to float32 in [0, 1] (B, 3, pixels, pixels)."""
    grid = F.affine_grid(affine, [len(images), 3, pixels, pixels], align_corners=False)
    return F.grid_sample(images.float() / 255, grid, padding_mode="border", align_corners=False)


def mirrored(affine: Tensor) -> Tensor:
    """Which maps turn left into right (B,)."""
    return torch.linalg.det(affine[:, :, :2]) < 0


def move_points(points: Tensor, affine: Tensor) -> Tensor:
    """Where five landmarks (B, 5, 2) in [-1, 1] go when `warp` moves their images; left and right are swapped under a
    mirror, so that the first eye stays the one on the image's left.
    """
    placed = torch.linalg.solve(affine[:, :, :2], (points - affine[:, None, :, 2]).transpose(1, 2)).transpose(1, 2)
    return torch.where(mirrored(affine)[:, None, None], placed[:, [1, 0, 2, 4, 3]], placed)


def recolour(images: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Change light and colour of float images in [0, 1]."""

    def factor(size: float) -> Tensor:
        return (1 + _uniform(len(images), -size, size, images.device)).view(-1, 1, 1, 1)

    images = images * factor(brightness)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * factor(contrast) + mean
    grey = images.mean(dim=1, keepdim=True)
    return (images - grey) * factor(saturation) + grey


def grey(images: Tensor, probability: float) -> Tensor:
    """Take the colour out of some images."""
    chosen = _uniform(len(images), 0, 1, images.device) < probability
    return torch.where(chosen[:, None, None, None], images.mean(dim=1, keepdim=True), images)


def erase(images: Tensor, erase_fraction: float, probability: float = 0.5) -> Tensor:
    """Grey out one square of up to `erase_fraction` of the area, with `probability` (cutout)."""
    batch, _, height, width = images.shape
    side = (_uniform(batch, 0, 1, images.device) * erase_fraction).sqrt() / 2
    side = torch.where(_uniform(batch, 0, 1, images.device) < probability, side, -1.0)
    centre = torch.empty(batch, 2, device=images.device).uniform_(0, 1)
    y = (torch.arange(height, device=images.device) + 0.5) / height
    x = (torch.arange(width, device=images.device) + 0.5) / width
    inside_y = (y - centre[:, :1]).abs() <= side[:, None]
    inside_x = (x - centre[:, 1:]).abs() <= side[:, None]
    hole = inside_y[:, None, :, None] & inside_x[:, None, None, :]
    return images.masked_fill(hole, 0.5)


def augment(
    images: Tensor,
    pixels: int,
    *,
    shift_fraction: float,
    zoom_fraction: float,
    rotate_degrees: float,
    brightness: float,
    contrast: float,
    saturation: float,
    grey_probability: float,
    noise: float,
    erase_fraction: float,
) -> tuple[Tensor, Tensor]:
    """All of it: uint8 (B, 3, H, W) to uint8 (B, 3, pixels, pixels), and the affine maps (B, 2, 3) that moved them."""
    affine = random_affine(len(images), shift_fraction, zoom_fraction, rotate_degrees, images.device)
    x = warp(images, affine, pixels)
    if brightness or contrast or saturation:
        x = recolour(x, brightness, contrast, saturation)
    if grey_probability:
        x = grey(x, grey_probability)
    if noise:
        deviation = _uniform(len(x), 0, noise, x.device).view(-1, 1, 1, 1)
        x = x + torch.randn_like(x) * deviation
    if erase_fraction:
        x = erase(x, erase_fraction)
    return (x.clamp(0, 1) * 255).round().byte(), affine


def strengthen(images: Tensor, operations: int, cutout_side_fraction: float) -> Tensor:
    """The strong view of FixMatch's descendants: random operations of RandAugment's fourteen, then cutout.

    uint8 (B, 3, P, P) to the same. Each operation has a magnitude of its own, uniform over RandAugment's bins (Cubuk et
    al. 2020); the cut square has a side of up to `cutout_side_fraction` of the image's.
    """
    changed = rand_augment(images, operations)
    cut = erase(changed.float() / 255, cutout_side_fraction**2, probability=1.0)
    return (cut * 255).round().byte()
