"""A masked autoencoder and the heads on a ViT of four patches a side at most, and a batch for them."""

from typing import Any

import torch
from torch import Tensor, nn

from models.backbone import vit_backbone
from models.mae import MAE
from models.vit import build_vit
from models.vit_heads import VitHeads
from tests.models.parts import pictures

VIT: dict[str, Any] = {"image_pixels": 16, "patch_pixels": 8, "width": 16, "depth": 2, "heads": 2}


def build_mae(pixels: int = 32, mask_ratio: float = 0.75) -> MAE:
    return MAE(build_vit(**VIT | {"image_pixels": pixels}), 8, 1, 2, mask_ratio)


def build_heads(**changes: Any) -> VitHeads:
    settings: dict[str, Any] = {"expressions": 8, "aus": True, "va": True, "label_smoothing": 0.0, "pseudo_weight": 0.5}
    return VitHeads(vit_backbone(VIT, readout_grid=2), **settings | changes)


def labelled(batch: int) -> dict[str, Tensor]:
    return {
        "images": pictures(batch),
        "expression": torch.arange(batch) % 8,
        "aus": torch.randint(0, 2, (batch, 12)),
        "va": torch.rand(batch, 2) * 2 - 1,
        "pseudo": torch.zeros(batch, dtype=torch.bool),
    }


def untouched(module: nn.Module) -> list[str]:
    return [n for n, p in module.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
