"""Backbones from params: our pretrained encoder, a published file by its declaration, or a network by its name."""

from pathlib import Path

import timm
from pydantic import Field, model_validator

from models.backbone import Backbone, face_backbone, mini_xception_backbone, timm_backbone, vit_backbone
from models.normalise import Normalise
from pipeline.backbones.encoder import Vit, load_into
from pipeline.backbones.loading import Local, check_form, load_weights
from pipeline.core.errors import MienError
from pipeline.core.params import Section
from pipeline.core.paths import ARTIFACTS
from pipeline.core.weights import DECLARATIONS, Architecture, Normalisation, Weights, declaration


class BackboneSettings(Section):
    """A feature network: `weights` alone where weights.yaml says what they are (`mien weights add`), or a `name`.

    `name` is our own `encoder`, `face_resnet` (IR-50 or a smaller one), or any timm name. `weights` is a local
    safetensors file that weights.yaml declares; a network that is named without one starts at random, but the encoder.

    `readout_grid` is the raster of cells whose means a ViT gives (1: one mean; 0: the class token); `image_pixels` is
    the input size, the network's own where left out; `face_resnet` has `channels` and `units` of its stages.
    `standardise` gives heads each feature less its mean over its deviation (`models/standardise.py`) in place of their
    own norm: ours, for features read cell by cell and for short trainings; published fine-tuning goes without.
    """

    name: Local | None = None
    weights: Local | None = None
    readout_grid: int = Field(default=1, ge=0)
    image_pixels: int | None = Field(default=None, ge=16)
    channels: list[int] = Field(default=[64, 128, 256, 512], min_length=1)
    units: list[int] = Field(default=[3, 4, 14, 3], min_length=1)
    standardise: bool = False

    @model_validator(mode="after")
    def _named(self) -> "BackboneSettings":
        if not self.name and not self.weights:
            raise ValueError("name a network, or weights that weights.yaml declares")
        return self

    @model_validator(mode="after")
    def _stages(self) -> "BackboneSettings":
        if len(self.channels) != len(self.units):
            raise ValueError("channels and units must be as long as each other: one of each a stage")
        return self

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.name or Path(self.weights or "").name

    @property
    def is_own_encoder(self) -> bool:
        """Whether it is what `pretrain_mae` trained."""
        return self.name == "encoder" and not self.weights


def normaliser(normalisation: Normalisation | None) -> Normalise:
    """What a declaration says that a network expects to see; [-1, 1], as our own do, where it says nothing."""
    if normalisation is None:
        return Normalise()
    return Normalise(normalisation.mean, normalisation.std, normalisation.colours)


def build_backbone(settings: BackboneSettings, vit: Vit, pretrained: bool, drop_path: float = 0.0) -> Backbone:
    """The network that params name, its weights loaded where `pretrained` asks for them."""
    weights = Path(settings.weights) if settings.weights else None
    entry = None if weights is None or weights.is_relative_to(ARTIFACTS) else declaration(weights)
    if weights and entry is None:
        check_form(weights)
    if entry is not None and entry.architecture is not None:
        backbone = _declared(settings, entry, entry.architecture, drop_path)
    else:
        backbone = _named(settings, vit, drop_path)
    trunk = backbone.get_submodule(backbone.trunk)  # named as in the published files
    if pretrained and weights:
        load_weights(trunk, weights, settings.label)
    elif pretrained and settings.is_own_encoder:
        load_into(trunk, vit)
    if settings.standardise:
        backbone.standardise()
    return backbone


def _named(settings: BackboneSettings, vit: Vit, drop_path: float) -> Backbone:
    """A network by its name, its sizes from params."""
    if settings.name == "encoder":
        pixels = _fitting(settings.image_pixels or vit.image_pixels, vit.patch_pixels)
        return vit_backbone(vit.model_dump() | {"image_pixels": pixels}, settings.readout_grid, drop_path)
    if settings.name == "face_resnet":
        pixels, grid = settings.image_pixels or 112, max(1, settings.readout_grid)
        return face_backbone(settings.channels, settings.units, grid, pixels)
    if settings.name is None:
        raise MienError(
            f"{DECLARATIONS}: does not say what network {settings.label} is; declare it with `mien weights add`, or "
            "name the network in params.yaml"
        )
    if not timm.is_model(settings.name):
        known = "`encoder` and `face_resnet` are our own"
        raise MienError(f"params.yaml: timm knows no model {settings.name}; {known}", exit_code=2)
    return timm_backbone(settings.name, settings.image_pixels, drop_path)


def _declared(settings: BackboneSettings, entry: Weights, architecture: Architecture, drop_path: float) -> Backbone:
    """The network that weights.yaml says a file is; a name in params must say the same."""
    network = architecture.network
    own = {"vit": "encoder"}.get(network, network)
    if settings.name and settings.name.split(".")[0] != own.split(".")[0]:
        raise MienError(
            f"params.yaml: {settings.weights} is not {settings.name}: {DECLARATIONS} declares it as {network}; "
            "leave the name out"
        )
    normalisation = entry.normalisation
    pixels = settings.image_pixels or (normalisation.pixels if normalisation else None)
    return declared_backbone(architecture, normaliser(normalisation), pixels, settings.readout_grid, drop_path)


def declared_backbone(
    architecture: Architecture, normalise: Normalise, pixels: int | None, readout_grid: int = 1, drop_path: float = 0.0
) -> Backbone:
    """A declared network with random weights at an input size, its own where that is None."""
    network, sizes = architecture.network, dict(architecture.sizes)
    if (network == "mini_xception") != (normalise.colours == "grey"):
        raise MienError(f"{DECLARATIONS}: colours of a {network}: mini_xception alone sees grey, and nothing else")
    try:
        if network == "vit":
            pixels = _fitting(pixels or sizes["image_pixels"], sizes["patch_pixels"])  # type: ignore[arg-type]
            return vit_backbone(sizes | {"image_pixels": pixels}, readout_grid, drop_path, normalise)
        if network == "face_resnet":
            return face_backbone(normalise=normalise, pixels=pixels or 112, readout_grid=max(1, readout_grid), **sizes)  # type: ignore[arg-type]
        if network == "mini_xception":
            return mini_xception_backbone(max(1, readout_grid), pixels or 64, normalise)
    except (KeyError, TypeError, ValueError, AssertionError) as error:  # sizes that were written by hand
        raise MienError(f"{DECLARATIONS}: sizes of a {network}: {error}; declare it with `mien weights add`") from None
    if network in ("dan", "onnx") or not timm.is_model(network):
        use = {"dan": "systems.emma.cnn.weights", "onnx": "cache_features, `name: onnx`,"}.get(network)
        mend = f"{use} reads such a file" if use else "timm has no such model"
        raise MienError(f"{DECLARATIONS}: {network} is no backbone to train: {mend}")
    return timm_backbone(network, pixels, drop_path, normalise)


def _fitting(pixels: int, patch: int) -> int:
    """The side of an image, which must hold whole patches."""
    if pixels % patch:
        raise MienError(f"params.yaml: image_pixels is {pixels}; this ViT needs a multiple of {patch}", exit_code=2)
    return pixels
