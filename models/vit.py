"""The vision transformer encoder: timm's, sized for aligned face crops."""

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

# Crops are normalised with one mean and deviation for all channels, as the face networks in this field do.
MEAN = STD = 0.5


def build_vit(
    image_pixels: int, patch_pixels: int, width: int, depth: int, heads: int, drop_path: float = 0.0
) -> VisionTransformer:
    """A ViT without classifier: (B, 3, image_pixels, image_pixels) to mean-pooled features (B, width)."""
    return VisionTransformer(
        img_size=image_pixels,
        patch_size=patch_pixels,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        num_classes=0,
        class_token=True,
        global_pool="avg",
        fc_norm=False,
        drop_path_rate=drop_path,
    )


def normalise(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) to float32 in [-1, 1]."""
    return (images.float() / 255 - MEAN) / STD


def sincos_position_embedding(grid: int, width: int, class_token: bool = True) -> Tensor:
    """Fixed 2-D sine-cosine embedding (1, grid * grid + 1, width), the class token's first and zero (as in MAE)."""
    omega = 1 / 10000 ** (torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    y, x = torch.meshgrid(
        torch.arange(grid, dtype=torch.float64), torch.arange(grid, dtype=torch.float64), indexing="ij"
    )
    parts = [f(axis.reshape(-1, 1) * omega) for axis in (x, y) for f in (torch.sin, torch.cos)]
    embedding = torch.cat(parts, dim=1).float()
    if class_token:
        embedding = torch.cat([torch.zeros(1, width), embedding])
    return embedding[None]


def readout_width(width: int, grid: int) -> int:
    """Length of what `read_tokens` gives."""
    return max(1, grid) ** 2 * width


def read_tokens(tokens: Tensor, grid: int) -> Tensor:
    """What a head reads of a ViT's output (B, 1 + tokens, width), the class token first.

    Grid 0 is the class token (B, width); else the mean of the patch tokens in each cell of a grid x grid raster (B,
    grid * grid * width). Crops are aligned, so a cell is always the same part of the face: reading cells apart tells
    brows from mouth, where one mean over all patches (grid 1) or the class token leaves that to attention, which a
    short training does not teach.
    """
    if grid == 0:
        return tokens[:, 0]
    side = round((tokens.shape[1] - 1) ** 0.5)
    maps = tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    cells = maps if grid == side else F.adaptive_avg_pool2d(maps, grid)
    return cells.flatten(1)


def freeze(module: nn.Module) -> nn.Module:
    """Evaluation mode, no gradients."""
    return module.eval().requires_grad_(False)
