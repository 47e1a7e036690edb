"""Random change of a whole batch of crops on the device: one geometric warp, then light, colour, noise and erasing."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def _uniform(batch: int, low: float, high: float, device: torch.device) -> Tensor:
    return torch.empty(batch, device=device).uniform_(low, high)


def warp(images: Tensor, pixels: int, shift_fraction: float, zoom_fraction: float, rotate_degrees: float) -> Tensor:
    """Shift, zoom, rotate and mirror each image: uint8 (B, 3, H, W) to float32 in [0, 1] (B, 3, pixels, pixels)."""
    batch, device = len(images), images.device
    angle = _uniform(batch, -1, 1, device) * math.radians(rotate_degrees)
    scale = 1 / (1 + _uniform(batch, -1, 1, device) * zoom_fraction)
    mirror = torch.where(_uniform(batch, 0, 1, device) < 0.5, -1.0, 1.0)
    shift = torch.empty(batch, 2, device=device).uniform_(-2 * shift_fraction, 2 * shift_fraction)
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = [cosine * mirror, -sine, shift[:, 0], sine * mirror, cosine, shift[:, 1]]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), [batch, 3, pixels, pixels], align_corners=False)
    return F.grid_sample(images.float() / 255, grid, padding_mode="border", align_corners=False)


def recolour(images: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Change light and colour of float images in [0, 1]."""

    def factor(size: float) -> Tensor:
        return (1 + _uniform(len(images), -size, size, images.device)).view(-1, 1, 1, 1)

    images = images * factor(brightness)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * factor(contrast) + mean
    grey = images.mean(dim=1, keepdim=True)
    return (images - grey) * factor(saturation) + grey


def erase(images: Tensor, erase_fraction: float) -> Tensor:
    """Grey out one square of up to `erase_fraction` of the area, in half of the images."""
    batch, _, height, width = images.shape
    side = (_uniform(batch, 0, 1, images.device) * erase_fraction).sqrt() / 2
    side = torch.where(_uniform(batch, 0, 1, images.device) < 0.5, side, -1.0)
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
    noise: float,
    erase_fraction: float,
) -> Tensor:
    """All of it: uint8 (B, 3, H, W) to uint8 (B, 3, pixels, pixels)."""
    x = warp(images, pixels, shift_fraction, zoom_fraction, rotate_degrees)
    if brightness or contrast or saturation:
        x = recolour(x, brightness, contrast, saturation)
    if noise:
        deviation = _uniform(len(x), 0, noise, x.device).view(-1, 1, 1, 1)
        x = x + torch.randn_like(x) * deviation
    if erase_fraction:
        x = erase(x, erase_fraction)
    return (x.clamp(0, 1) * 255).round().byte()
