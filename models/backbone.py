"""A feature network with its own normalisation: our ViT or a face ResNet read cell by cell, or any timm model."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from models.face_resnet import IRStem
from models.vit import MEAN, STD, build_vit, normalise, read_tokens, readout_width


class GridReadout(nn.Module):
    """A ViT read cell by cell (see `read_tokens`)."""

    def __init__(self, encoder: VisionTransformer, grid: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.grid = grid

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, P, P) to (B, readout width)."""
        return read_tokens(self.encoder.forward_features(images), self.grid)


class Backbone(nn.Module):
    """uint8 images (B, 3, pixels, pixels) to float features (B, width)."""

    shift: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, width: int, pixels: int, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.network = network
        self.width = width
        self.pixels = pixels
        # `normalise` has already taken our own mean and deviation off; what is left to reach the network's
        shift, scale = (torch.tensor(mean).view(-1, 1, 1) - MEAN) / STD, torch.tensor(std).view(-1, 1, 1) / STD
        self.register_buffer("shift", shift, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, pixels, pixels) to (B, width)."""
        return self.network((normalise(images) - self.shift) / self.scale)

    @property
    def layered(self) -> str:
        """Name of the module whose layers layer decay tells apart, where it has timm's `group_matcher`."""
        return "network.encoder" if isinstance(self.network, GridReadout) else "network"

    def no_weight_decay(self) -> set[str]:
        """Names that weight decay leaves alone (timm's convention)."""
        names: Any = getattr(self.get_submodule(self.layered), "no_weight_decay", set)
        return {f"{self.layered}.{name}" for name in names()}


def vit_backbone(vit: dict[str, int], readout_grid: int, drop_path: float = 0.0) -> Backbone:
    """Our ViT, one mean for each cell of the raster, or its class token where that is 0."""
    encoder = build_vit(**vit, drop_path=drop_path)
    width = readout_width(vit["width"], readout_grid)
    return Backbone(GridReadout(encoder, readout_grid), width, vit["image_pixels"], [MEAN] * 3, [STD] * 3)


class CellReadout(nn.Module):
    """A convolutional stem whose map is averaged over the cells of a raster."""

    def __init__(self, stem: IRStem, grid: int) -> None:
        super().__init__()
        self.stem = stem
        self.grid = grid

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, P, P) to (B, grid * grid * channels)."""
        return F.adaptive_avg_pool2d(self.stem(images), self.grid).flatten(1)


def face_backbone(channels: Sequence[int], units: Sequence[int], readout_grid: int, pixels: int) -> Backbone:
    """The face-recognition ResNet of `face_resnet`, one mean for each cell of the raster."""
    network = CellReadout(IRStem(channels, units), readout_grid)
    return Backbone(network, readout_grid**2 * channels[-1], pixels, [MEAN] * 3, [STD] * 3)


def timm_backbone(name: str, pixels: int | None = None, drop_path: float = 0.0) -> Backbone:
    """A timm model without its classifier, at its own input size unless `pixels` says otherwise.

    Raises what `timm.create_model` raises for a name it does not know.
    """
    given: dict[str, Any] = {"pretrained": False, "num_classes": 0}
    if drop_path:
        given["drop_path_rate"] = drop_path
    sized = given | {"img_size": pixels} if pixels else given
    try:  # transformers are built for one size, convolutional networks take any and know no such argument
        network: Any = timm.create_model(name, **sized)
    except TypeError:
        network = timm.create_model(name, **given)
    config = timm.data.resolve_data_config(model=network)
    width = getattr(network, "head_hidden_size", None) or network.num_features
    return Backbone(network, width, pixels or config["input_size"][-1], list(config["mean"]), list(config["std"]))
