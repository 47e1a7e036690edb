"""Backbones from params: our pretrained encoder, a face ResNet, or any timm model with local, declared weights."""

from pathlib import Path

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from models.backbone import Backbone, face_backbone, timm_backbone, vit_backbone
from pipeline.base.params import Backbone as BackboneParams
from pipeline.base.params import Vit
from pipeline.base.weights import verify
from pipeline.errors import MienError
from pipeline.layout import ARTIFACTS
from pipeline.train.encoder import load_into


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


def build_backbone(settings: BackboneParams, vit: Vit, pretrained: bool, drop_path: float = 0.0) -> Backbone:
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
