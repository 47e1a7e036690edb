"""Random masking of a ViT's patches, as in MAE: an encoder that computes on the visible ones alone."""

from typing import cast

import torch
import torch.nn.functional as F
from timm.models import checkpoint_seq
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from models.across import shared_rand
from models.vit import norm_cells, read_tokens


def patchify(images: Tensor, patch: int) -> Tensor:
    """(B, 3, H, W) to (B, tokens, 3 * patch * patch), channels first as in the embedding's convolution."""
    batch, channels, height, width = images.shape
    x = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch * patch)


def random_masking(batch: int, tokens: int, mask_ratio: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Per-sample random order: indices of the kept tokens (B, kept) and of all tokens kept-first (B, tokens)."""
    order = shared_rand(batch, tokens, device=device).argsort(dim=1)
    return order[:, : int(tokens * (1 - mask_ratio))], order


def gather_tokens(x: Tensor, indices: Tensor) -> Tensor:
    """Pick tokens: x (B, N, D), indices (B, K) to (B, K, D)."""
    return x.gather(1, indices[..., None].expand(-1, -1, x.shape[-1]))


def encode_visible(encoder: VisionTransformer, patches: Tensor, kept: Tensor) -> Tensor:
    """Encode the kept patches alone: (B, tokens, 3pp), (B, kept) to (B, 1 + kept, width), the class token first.

    Patches are gathered before they are embedded, and the embedding is one matrix product. A network with registers
    has them behind the class token.
    """
    position = cast(Tensor, encoder.pos_embed)
    projection = encoder.patch_embed.proj
    x = F.linear(gather_tokens(patches, kept), projection.weight.flatten(1), projection.bias)
    own = position.shape[1] - patches.shape[1]  # positions of the tokens that are no patches: all of them, or none
    x = x + gather_tokens(position[:, own:].expand(len(x), -1, -1), kept)
    prefix = [cast(Tensor, token) for token in (encoder.cls_token, encoder.reg_token) if token is not None]
    if prefix:
        tokens = torch.cat(prefix, dim=1)
        x = torch.cat([(tokens + position[:, :own] if own else tokens).expand(len(x), -1, -1), x], dim=1)
    x = encoder.norm_pre(x)
    x = checkpoint_seq(encoder.blocks, x) if encoder.grad_checkpointing else encoder.blocks(x)
    return encoder.norm(x)


def put_back(tokens: Tensor, kept: Tensor, total: int) -> Tensor:
    """Visible tokens (B, 1 + kept, width) in their places among `total`, the class token first: (B, 1 + total, width).
    What stands before the patches stays before them; hidden places are zero.
    """
    prefix = tokens.shape[1] - kept.shape[1]
    places = kept[..., None].expand(-1, -1, tokens.shape[-1])
    full = tokens.new_zeros(len(tokens), total, tokens.shape[-1])
    return torch.cat([tokens[:, :prefix], full.scatter(1, places, tokens[:, prefix:])], dim=1)


def read_visible(encoder: VisionTransformer, tokens: Tensor, kept: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """What `read_encoder` reads of a raster, from visible tokens alone, and which of it is known, both (B, cells *
    width): a cell is the mean of its visible tokens, and unknown where all are hidden.
    """
    prefix, total = encoder.num_prefix_tokens, encoder.patch_embed.num_patches
    visible = put_back(torch.ones_like(tokens[..., :1]), kept, total)
    share = read_tokens(visible, grid, prefix)[:, None]
    sums = read_tokens(put_back(tokens, kept, total), grid, prefix).unflatten(1, (tokens.shape[-1], -1))
    cells = norm_cells(encoder, (sums / share.clamp_min(1 / total)).flatten(1))
    return cells, (share > 0).expand_as(sums).flatten(1)
