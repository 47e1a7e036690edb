"""The vision transformer encoder: timm's, sized for aligned face crops."""

from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

# Crops are normalised with one mean and deviation for all channels, as the face networks in this field do.
MEAN = STD = 0.5


def build_vit(
    image_pixels: int,
    patch_pixels: int,
    width: int,
    depth: int,
    heads: int,
    drop_path: float = 0.0,
    *,
    registers: int = 0,
    layer_scale: bool = False,
    pooled_norm: bool = False,
    class_position: bool = True,
) -> VisionTransformer:
    """A ViT without classifier: (B, 3, image_pixels, image_pixels) to mean-pooled features (B, width).

    The rest is for published networks: `registers` and `layer_scale` (DINOv2), a norm of the pooled tokens in place of
    the tokens' own (MAE fine-tuned), a class token without a position of its own.
    """
    more: dict[str, Any] = {"init_values": 1e-5} if layer_scale else {}
    return VisionTransformer(
        img_size=image_pixels,
        patch_size=patch_pixels,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        num_classes=0,
        class_token=True,
        global_pool="avg",
        fc_norm=pooled_norm,
        reg_tokens=registers,
        no_embed_class=not class_position,
        drop_path_rate=drop_path,
        **more,
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


def read_tokens(tokens: Tensor, grid: int, prefix: int = 1) -> Tensor:
    """What a head reads of a ViT's output (B, prefix + tokens, width): the class token, registers, then the patches.

    Grid 0 is the class token (B, width); else the mean of the patch tokens in each cell of a grid x grid raster (B,
    grid * grid * width). Crops are aligned, so a cell is always the same part of the face: reading cells apart tells
    brows from mouth, where one mean over all patches (grid 1) or the class token leaves that to attention, which a
    short training does not teach.
    """
    if grid == 0:
        return tokens[:, 0]
    side = round((tokens.shape[1] - prefix) ** 0.5)
    maps = tokens[:, prefix:].transpose(1, 2).unflatten(2, (side, side))
    cells = maps if grid == side else F.adaptive_avg_pool2d(maps, grid)
    return cells.flatten(1)


def read_encoder(encoder: VisionTransformer, tokens: Tensor, grid: int) -> Tensor:
    """`read_tokens` of what `encoder` gave, each cell under its norm of pooled tokens where it has one."""
    return norm_cells(encoder, read_tokens(tokens, grid, encoder.num_prefix_tokens))


def norm_cells(encoder: VisionTransformer, read: Tensor) -> Tensor:
    """Each cell of a raster (B, cells * width) under the encoder's norm of pooled tokens, where it has one."""
    if isinstance(encoder.fc_norm, nn.Identity):
        return read
    cells = read.unflatten(1, (encoder.embed_dim, -1)).transpose(1, 2)
    return encoder.fc_norm(cells).transpose(1, 2).flatten(1)


def freeze(module: nn.Module) -> nn.Module:
    """Evaluation mode, no gradients."""
    return module.eval().requires_grad_(False)
