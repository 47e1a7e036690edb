"""params.yaml as frozen, validated models: one a section, units in the names, an unknown key is a named error."""

import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import MienError

PARAMS = Path("params.yaml")
SECRET = re.compile(r"(token|passw(or)?d|secret|api_?key|credential)", re.IGNORECASE)
URL_WITH_USER = re.compile(r"://[^/\s]*:[^/\s]*@")

Dataset = Literal["aff-wild2", "s-aff-wild2", "lsd", "extra"]
TrackName = Literal["expr", "au", "va", "mtl", "lsd"]


class Section(BaseModel):
    """A params section: immutable, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Data(Section):
    """Where the official release lies and what to call it."""

    root: str
    name: str

    @model_validator(mode="after")
    def _relative(self) -> "Data":
        if Path(self.root).is_absolute() or ".." in Path(self.root).parts:
            raise ValueError(
                f"root must be a path below the project, not {self.root}; link or import the release there"
            )
        return self


class DetectAlign(Section):
    """Face detection, tracking and alignment."""

    detector: str = Field(pattern=r"^(mtcnn|insightface:.+)$")
    detect_pixels: int = Field(ge=128, le=1920, multiple_of=32)
    score_threshold: float = Field(gt=0, lt=1)
    min_face_pixels: int = Field(ge=12)
    max_gap_frames: int = Field(ge=0)
    crop_pixels: int = Field(ge=112)
    jpeg_quality: int = Field(ge=50, le=100)
    max_failed_fraction: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _template(self) -> "DetectAlign":
        if self.crop_pixels % 112 and self.crop_pixels % 128:
            raise ValueError("crop_pixels must be a multiple of 112 or 128, as insightface's template is")
        return self


class Vit(Section):
    """The vision transformer that pretraining and the ViT systems share."""

    image_pixels: int = Field(ge=1)
    patch_pixels: int = Field(ge=1)
    width: int = Field(ge=4, multiple_of=4)  # the sine-cosine position embedding has four parts
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)

    @model_validator(mode="after")
    def _divides(self) -> "Vit":
        if self.image_pixels % self.patch_pixels or self.width % self.heads:
            raise ValueError("image_pixels must be a multiple of patch_pixels, and width of heads")
        return self


class Augment(Section):
    """Random change of a training crop; each number is the largest change."""

    shift_fraction: float = Field(ge=0, le=0.5)
    zoom_fraction: float = Field(ge=0, lt=1)
    rotate_degrees: float = Field(ge=0, le=180)
    brightness: float = Field(ge=0, le=1)
    contrast: float = Field(ge=0, le=1)
    saturation: float = Field(ge=0, le=1)
    noise: float = Field(ge=0, le=1)
    erase_fraction: float = Field(ge=0, lt=1)


class Optimise(Section):
    """AdamW with linear warm-up and a half cosine; the learning rate is per 256 images, as in MAE."""

    batch: int = Field(ge=1)
    steps: int = Field(ge=1)
    warmup_steps: int = Field(ge=0)
    base_learning_rate: float = Field(gt=0)
    min_learning_rate: float = Field(ge=0)
    weight_decay: float = Field(ge=0)
    layer_decay: float = Field(gt=0, le=1)
    clip_norm: float = Field(gt=0)
    ema_decay: float = Field(ge=0, lt=1)

    @property
    def learning_rate(self) -> float:
        """Peak learning rate at this batch."""
        return self.base_learning_rate * self.batch / 256


class PretrainMae(Section):
    """Masked autoencoder pretraining (He et al. 2022, arXiv 2111.06377)."""

    seed: int
    sources: list[Dataset] = Field(min_length=1)
    mask_ratio: float = Field(gt=0, lt=1)
    decoder_width: int = Field(ge=4, multiple_of=4)
    decoder_depth: int = Field(ge=1)
    decoder_heads: int = Field(ge=1)
    checkpoint_seconds: float = Field(gt=0)
    augment: Augment
    optimise: Optimise

    @model_validator(mode="after")
    def _divides(self) -> "PretrainMae":
        if self.decoder_width % self.decoder_heads:
            raise ValueError("decoder_width must be a multiple of decoder_heads")
        return self


class Backbone(Section):
    """A frozen feature network: our own `encoder`, or any timm name with local weights (see weights.yaml)."""

    name: str
    weights: str | None = None
    readout_grid: int = Field(default=1, ge=1)  # cells of the face whose means are kept; our own encoder only


class CacheFeatures(Section):
    """Frozen features of every crop."""

    batch: int = Field(ge=1)
    backbones: dict[str, Backbone]


class PseudoLabel(Section):
    """A teacher on cached features and the confidence from which its answer counts as a label."""

    backbone: str
    regularisation: float = Field(gt=0)
    confidence: float = Field(gt=0.5, lt=1)


class VitSystem(Section):
    """The MAE-initialised ViT with a head for each task."""

    readout_grid: int = Field(ge=1)
    drop_path: float = Field(ge=0, lt=1)
    label_smoothing: float = Field(ge=0, lt=1)
    pseudo_weight: float = Field(ge=0)


class Systems(Section):
    """Settings of each system of its own."""

    vit: VitSystem


class Finetune(Section):
    """The one supervised training loop."""

    seed: int
    balance: float = Field(ge=0, le=1)
    pseudo_fraction: float = Field(ge=0, lt=1)
    evaluate_every_steps: int = Field(ge=1)
    evaluate_batch: int = Field(ge=1)
    checkpoint_seconds: float = Field(gt=0)
    augment: Augment
    optimise: Optimise


class Ensemble(Section):
    """What is fitted on the validation set, and how its optimism is measured."""

    seed: int
    folds: int = Field(ge=2)
    weight_step: float = Field(gt=0, le=1)
    half_windows_frames: list[int] = Field(min_length=1)
    au_thresholds: list[float] = Field(min_length=1)
    bootstrap_draws: int = Field(ge=0)
    members: dict[TrackName, list[str]]


class Submit(Section):
    """The submission file's name; organisers circulate it with the test set."""

    file_name: str = Field(pattern=r"^[\w.-]+$")


class Params(Section):
    """The whole of params.yaml."""

    data: Data
    detect_align: DetectAlign
    vit: Vit
    pretrain_mae: PretrainMae
    cache_features: CacheFeatures
    pseudo_label: PseudoLabel
    finetune: Finetune
    systems: Systems
    ensemble: Ensemble
    submit: Submit


def _refuse_secrets(node: Any, path: str, where: str) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if SECRET.search(str(key)):
                raise MienError(
                    f"{path}: {where}{key} looks like a secret; keep it in the environment, params are copied"
                )
            _refuse_secrets(value, path, f"{where}{key}.")
    elif isinstance(node, list):
        for item in node:
            _refuse_secrets(item, path, where)
    elif isinstance(node, str) and URL_WITH_USER.search(node):
        raise MienError(f"{path}: {where.rstrip('.')} holds a URL with credentials; keep them in the environment")


def _complaint(error: ValidationError) -> str:
    """The first fault in one phrase: the key's full name and what is wrong with it."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}; remove it or mend its spelling"
    return f"{key or 'params'}: {first['msg']}"


def load_params(path: Path | None = None) -> Params:
    """Read and validate a params file; `MienError` names the file, the key and the mend."""
    path = path or PARAMS
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MienError(f"{path}: no such file; run from the project's root", exit_code=2) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MienError(f"{path}: not readable as YAML: {' '.join(str(error).split())}", exit_code=2) from None
    _refuse_secrets(tree, str(path), "")
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise MienError(f"{path}: {_complaint(error)}", exit_code=2) from None
