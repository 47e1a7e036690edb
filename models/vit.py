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


def grid_pool(encoder: VisionTransformer, images: Tensor, grid: int) -> Tensor:
    """Mean of the patch tokens in each cell of a grid x grid raster: images (B, 3, P, P) to (B, grid * grid * width).

    Crops are aligned, so a cell is always the same part of the face: reading cells apart tells brows from mouth,
    where one mean over all patches (grid 1) leaves that to attention.
    """
    tokens = encoder.forward_features(images)[:, encoder.num_prefix_tokens :]
    side = encoder.patch_embed.grid_size[0]
    maps = tokens.transpose(1, 2).unflatten(2, (side, side))
    return F.adaptive_avg_pool2d(maps, grid).flatten(1)


def freeze(module: nn.Module) -> nn.Module:
    """Evaluation mode, no gradients."""
    return module.eval().requires_grad_(False)
