"""Backbones from params: our pretrained encoder, a face ResNet, or any timm model with local, declared weights."""

from pathlib import Path

import timm
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from models.backbone import Backbone, face_backbone, timm_backbone, vit_backbone
from pipeline.backbones.encoder import Vit, load_into
from pipeline.core.errors import MienError
from pipeline.core.params import Section
from pipeline.core.paths import ARTIFACTS
from pipeline.core.weights import verify


class BackboneSettings(Section):
    """A feature network: our own `encoder`, `face_resnet` (IR-50 or a smaller one), or any timm name.

    `weights` is a local safetensors file that weights.yaml declares; without one the network starts at random.

    `readout_grid` is the raster of cells whose means our own encoder gives (1: one mean; 0: the class token);
    `image_pixels` is a timm model's input size, its own where left out, and that of `face_resnet`, whose stages have
    `channels` and `units`.
    """

    name: str
    weights: str | None = None
    readout_grid: int = Field(default=1, ge=0)
    image_pixels: int | None = Field(default=None, ge=16)
    channels: list[int] = Field(default=[64, 128, 256, 512], min_length=1)
    units: list[int] = Field(default=[3, 4, 14, 3], min_length=1)

    @model_validator(mode="after")
    def _stages(self) -> "BackboneSettings":
        if len(self.channels) != len(self.units):
            raise ValueError("channels and units must be as long as each other: one of each a stage")
        return self


def load_weights(module: nn.Module, path: Path, what: str) -> None:
    """Fill a module from a safetensors file: one that this pipeline made, or one declared in weights.yaml.

    Tensors that the module does not have (a classifier) are left out; one that it misses is an error.
    """
    if not path.is_file() or path.suffix != ".safetensors":
        raise MienError(f"params.yaml: {path} is not a safetensors file; put the weights of {what} there")
    if not path.is_relative_to(ARTIFACTS):
        verify(path.name, path)
    try:
        missing, _ = module.load_state_dict(load_file(path), strict=False)
    except SafetensorError as error:
        raise MienError(f"{path}: not a safetensors file ({error}); fetch it again") from None
    except RuntimeError as error:
        raise MienError(f"{path}: not the weights of {what}: {str(error).splitlines()[1].strip()}") from None
    if missing:
        raise MienError(f"{path}: not the weights of {what}: {missing[0]} and {len(missing) - 1} more are missing")


def build_backbone(settings: BackboneSettings, vit: Vit, pretrained: bool, drop_path: float = 0.0) -> Backbone:
    """The network that params name, its weights loaded where `pretrained` asks for them."""
    if settings.name == "encoder":
        backbone = vit_backbone(vit.model_dump(), settings.readout_grid, drop_path)
        if pretrained:
            load_into(backbone.network.encoder, vit)  # type: ignore[arg-type]
        return backbone
    if settings.name == "face_resnet":
        pixels, grid = settings.image_pixels or 112, max(1, settings.readout_grid)
        backbone = face_backbone(settings.channels, settings.units, grid, pixels)
        filled = backbone.network.stem  # named as in the published files
    elif timm.is_model(settings.name):
        backbone = timm_backbone(settings.name, settings.image_pixels, drop_path)
        filled = backbone.network
    else:
        known = "`encoder` and `face_resnet` are our own"
        raise MienError(f"params.yaml: timm knows no model {settings.name}; {known}", exit_code=2)
    if pretrained and settings.weights:
        load_weights(filled, Path(settings.weights), settings.name)  # type: ignore[arg-type]
    return backbone
