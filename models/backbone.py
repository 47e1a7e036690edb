"""A feature network with its own normalisation: our ViT or a face network read cell by cell, or any timm model."""

from collections.abc import Sequence
from typing import Any

import timm
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from models.face_resnet import IRStem
from models.mini_xception import MiniXceptionTrunk
from models.normalise import Normalise
from models.standardise import Standardise
from models.vit import build_vit, read_encoder, readout_width


class GridReadout(nn.Module):
    """A ViT read cell by cell (see `read_tokens`)."""

    def __init__(self, encoder: VisionTransformer, grid: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.grid = grid

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, P, P) to (B, readout width)."""
        return read_encoder(self.encoder, self.encoder.forward_features(images), self.grid)


class Backbone(nn.Module):
    """uint8 images (B, 3, pixels, pixels) to float features (B, width), standardised where `standardise` is called."""

    def __init__(self, network: nn.Module, width: int, pixels: int, normalise: Normalise | None = None) -> None:
        super().__init__()
        self.network = network
        self.width = width
        self.pixels = pixels
        self.normalise = normalise or Normalise()
        self.standardised: Standardise | nn.Identity = nn.Identity()

    def standardise(self) -> None:
        """Have features leave as `Standardise` makes them, for heads that read them without a norm of their own."""
        self.standardised = Standardise(self.width)

    def head_norm(self) -> nn.Module:
        """The norm of a head that reads the features: layer norm, none where they are standardised already."""
        standardised = isinstance(self.standardised, Standardise)
        return nn.Identity() if standardised else nn.LayerNorm(self.width)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, pixels, pixels) to (B, width)."""
        return self.standardised(self.network(self.normalise(images)))

    @property
    def trunk(self) -> str:
        """Name of the network as it is published, without what reads it here: the ViT, the stem, timm's model."""
        if isinstance(self.network, GridReadout):
            return "network.encoder"
        return "network.stem" if isinstance(self.network, CellReadout) else "network"

    def no_weight_decay(self) -> set[str]:
        """Names that weight decay leaves alone (timm's convention)."""
        names: Any = getattr(self.get_submodule(self.trunk), "no_weight_decay", set)
        return {f"{self.trunk}.{name}" for name in names()}


def grid_backbone(encoder: VisionTransformer, readout_grid: int, normalise: Normalise | None = None) -> Backbone:
    """A ViT, one mean for each cell of the raster, or its class token where that is 0."""
    width = readout_width(encoder.embed_dim, readout_grid)
    return Backbone(GridReadout(encoder, readout_grid), width, encoder.patch_embed.img_size[0], normalise)


def grid_of(backbone: Backbone) -> tuple[VisionTransformer, int]:
    """The ViT of a backbone and its raster, for a system that handles tokens itself.

    Raises `TypeError` where the network is no ViT.
    """
    if not isinstance(backbone.network, GridReadout):
        raise TypeError(f"{type(backbone.network).__name__} has no tokens")
    return backbone.network.encoder, backbone.network.grid


def vit_backbone(
    vit: dict[str, Any], readout_grid: int, drop_path: float = 0.0, normalise: Normalise | None = None
) -> Backbone:
    """A ViT of these sizes (`build_vit`), read by `grid_backbone`."""
    return grid_backbone(build_vit(**vit, drop_path=drop_path), readout_grid, normalise)


class CellReadout(nn.Module):
    """A convolutional stem whose map is averaged over the cells of a raster."""

    def __init__(self, stem: IRStem | MiniXceptionTrunk, grid: int) -> None:
        super().__init__()
        self.stem = stem
        self.grid = grid

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, P, P), grey ones (B, 1, P, P), to (B, grid * grid * channels)."""
        return F.adaptive_avg_pool2d(self.stem(images), self.grid).flatten(1)


def face_backbone(
    channels: Sequence[int], units: Sequence[int], readout_grid: int, pixels: int, normalise: Normalise | None = None
) -> Backbone:
    """The face-recognition ResNet of `face_resnet`, one mean for each cell of the raster."""
    network = CellReadout(IRStem(channels, units), readout_grid)
    return Backbone(network, readout_grid**2 * channels[-1], pixels, normalise)


def mini_xception_backbone(readout_grid: int, pixels: int, normalise: Normalise) -> Backbone:
    """The expression network of `mini_xception` without its classifier, one mean for each cell of the raster."""
    network = CellReadout(MiniXceptionTrunk(), readout_grid)
    return Backbone(network, readout_grid**2 * MiniXceptionTrunk.width, pixels, normalise)


def timm_backbone(
    name: str, pixels: int | None = None, drop_path: float = 0.0, normalise: Normalise | None = None
) -> Backbone:
    """A timm model without its classifier, at its own input size and normalisation unless these are given.

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
    normalise = normalise or Normalise(config["mean"], config["std"])
    return Backbone(network, width, pixels or config["input_size"][-1], normalise)
