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
    crop_landmarks: tuple[Dataset, ...] = Field(
        strict=False
    )  # data sets of ready crops in which landmarks are looked for all the same

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
    grey_probability: float = Field(ge=0, le=1)
    noise: float = Field(ge=0, le=1)
    erase_fraction: float = Field(ge=0, lt=1)


class Strong(Section):
    """The strong view of an unlabelled face: operations of RandAugment, then cutout."""

    operations: int = Field(ge=0)
    cutout_side_fraction: float = Field(ge=0, lt=1)


class Optimise(Section):
    """Linear warm-up, then half a cosine; the learning rate is per 256 images, as in MAE.

    `accumulate` batches make one step. `momentum` is SGD's, or AdamW's first moment.
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    batch: int = Field(ge=1)
    accumulate: int = Field(default=1, ge=1)
    steps: int = Field(ge=1)
    warmup_steps: int = Field(ge=0)
    base_learning_rate: float = Field(gt=0)
    min_learning_rate: float = Field(ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    second_moment: float = Field(default=0.999, gt=0, lt=1)
    weight_decay: float = Field(ge=0)
    layer_decay: float = Field(gt=0, le=1)
    clip_norm: float = Field(gt=0)
    ema_decay: float = Field(ge=0, lt=1)

    @property
    def learning_rate(self) -> float:
        """Peak learning rate at this effective batch."""
        return self.base_learning_rate * self.batch * self.accumulate / 256


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
    def _stages(self) -> "Backbone":
        if len(self.channels) != len(self.units):
            raise ValueError("channels and units must be as long as each other: one of each a stage")
        return self


class CachedBackbone(Backbone):
    """A frozen backbone (also `feedback`, the student of that system, and `onnx`) and the data sets that it reads."""

    datasets: list[Dataset] = Field(min_length=1)


class CacheFeatures(Section):
    """Frozen features of every crop."""

    batch: int = Field(ge=1)
    backbones: dict[str, CachedBackbone]


class PseudoLabel(Section):
    """The AU teacher on cached features, and the confidence from which its answer counts as a label."""

    backbone: str
    regularisation: float = Field(gt=0)
    confidence: float = Field(gt=0.5, lt=1)


class Train(Section):
    """How one system is trained: sampling, augmentation, optimiser, and how often it is judged."""

    balance: float = Field(ge=0, le=1)
    evaluate_every_steps: int = Field(ge=1)
    patience_evaluations: int = Field(default=0, ge=0)
    augment: Augment
    optimise: Optimise


def _one_pass(train: Train) -> None:
    if train.optimise.accumulate != 1:
        raise ValueError("accumulate must be 1: the updates of this system depend on one another")


class VitSystem(Section):
    """One backbone with a head for each task."""

    backbone: Backbone
    drop_path: float = Field(ge=0, lt=1)
    label_smoothing: float = Field(ge=0, lt=1)
    pseudo_weight: float = Field(ge=0)
    pseudo_fraction: float = Field(ge=0, lt=1)
    train: Train


class AuCvtSystem(Section):
    """AU-CVT (models/au_cvt.py).

    `au_labels`: `teacher` (pseudo_label's answers on the training faces), `real` (the labelled faces of the AU track,
    `real_fraction` of a batch), or the path of an OpenFace CSV, of which rows below `openface_confidence` are left out.
    """

    image_pixels: int = Field(ge=16)
    channels: list[int] = Field(min_length=1)
    units: list[int] = Field(min_length=1)
    stem_weights: str | None
    width: int = Field(ge=1)
    heads: int = Field(ge=1)
    blocks_before: int = Field(ge=1)
    blocks_after: int = Field(ge=1)
    au_labels: str
    au_weight: float = Field(ge=0)
    real_fraction: float = Field(gt=0, lt=1)
    openface_confidence: float = Field(ge=0, le=1)
    train: Train

    @model_validator(mode="after")
    def _fits(self) -> "AuCvtSystem":
        if len(self.channels) != len(self.units):
            raise ValueError("channels and units must be as long as each other: one of each a stage")
        if self.width % self.heads or self.image_pixels % 2 ** len(self.channels):
            raise ValueError("width must be a multiple of heads, and image_pixels of 2 ** stages")
        return self


class AppearanceWeights(Section):
    """Weight of each appearance target in the loss; 0 leaves it out."""

    landmarks: float = Field(ge=0)
    pose: float = Field(ge=0)
    identity: float = Field(ge=0)
    age: float = Field(ge=0)
    sex: float = Field(ge=0)


class MultitaskSystem(Section):
    """The ensemble of multi-task networks (models/multitask.py).

    `identity_backbone` and `attribute_backbone` name features of cache_features: a recognition network's embedding, of
    which `identity_components` principal components are learnt, and insightface's sex and age.
    """

    networks: list[Backbone] = Field(min_length=1)
    width: int = Field(ge=1)
    appearance_weights: AppearanceWeights
    identity_backbone: str
    identity_components: int = Field(ge=1)
    attribute_backbone: str | None
    train: Train


class DanNet(Section):
    """Sizes of the DAN network (models/dan.py)."""

    channels: list[int] = Field(min_length=4, max_length=4)
    layers: list[int] = Field(min_length=4, max_length=4)
    attention_heads: int = Field(ge=1)


class DanSystem(DanNet):
    """DAN trained for a track."""

    image_pixels: int = Field(ge=32)
    label_smoothing: float = Field(ge=0, lt=1)
    train: Train


class EmmaCnn(DanNet):
    """The frozen expression network: DAN of these sizes, its weights and its number of classes.

    It sees what the ViT sees.
    """

    weights: str
    classes: int = Field(ge=2)


class EmmaSystem(Section):
    """EMMA (models/emma.py). `au_pos_weight` is taken from the training labels where it is null."""

    cnn: EmmaCnn
    readout_grid: int = Field(ge=0)
    hidden: int = Field(ge=1)
    va_hidden: int = Field(ge=1)
    va_from: Literal["scores", "features"]
    va_rate: float = Field(gt=0)
    drop_path: float = Field(ge=0, lt=1)
    au_pos_weight: list[float] | None
    train: Train


class CoTexSystem(Section):
    """Masked CoTEX (models/cotex.py)."""

    views: int = Field(ge=1)
    readout_grid: int = Field(ge=0)
    mask_ratio: float = Field(ge=0, lt=1)
    consistency_weight: float = Field(ge=0)
    drop_path: float = Field(ge=0, lt=1)
    train: Train


class Spatial(Section):
    """Phase one of the feedback system: teacher and student (models/feedback.py)."""

    backbone: Backbone
    feedback: bool
    temperature: float = Field(gt=0)
    unsupervised_weight: float = Field(ge=0)
    ramp_steps: int = Field(ge=1)
    head_start_steps: int = Field(ge=0)
    labelled_steps: int = Field(ge=0)
    unlabelled_ratio: int = Field(ge=1)  # unlabelled faces for each labelled one of a batch
    strong: Strong
    train: Train

    @model_validator(mode="after")
    def _phases(self) -> "Spatial":
        _one_pass(self.train)
        if self.head_start_steps + self.labelled_steps > self.train.optimise.steps:
            raise ValueError("head_start_steps and labelled_steps must leave room in train.optimise.steps")
        if self.train.patience_evaluations:
            raise ValueError("train.patience_evaluations must be 0: the student does not learn all the time")
        return self


class Temporal(Section):
    """Phase two: the temporal encoder over cached features (models/temporal.py)."""

    window_frames: int = Field(ge=2)
    stride_frames: int = Field(ge=1)
    width: int = Field(ge=2, multiple_of=2)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    feedforward: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    train: Train

    @model_validator(mode="after")
    def _overlap(self) -> "Temporal":
        if self.stride_frames > self.window_frames:
            raise ValueError("stride_frames must not exceed window_frames, or frames between windows are never seen")
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self


class FeedbackSystem(Section):
    """Semi-supervised pretraining with feedback, then the temporal encoder."""

    spatial: Spatial
    temporal: Temporal


class DtmSystem(Section):
    """The dynamic threshold module (models/dtm.py) and its baselines."""

    backbone: Backbone
    threshold: Literal["dynamic", "fixed", "self_adaptive"]
    floor: float = Field(gt=0, lt=1)
    threshold_momentum: float = Field(ge=0, lt=1)
    fixed_threshold: float = Field(gt=0, lt=1)
    epoch_steps: int = Field(ge=1)
    scale: float = Field(gt=0)
    unlabelled_weight: float = Field(ge=0)
    unlabelled_batch: int = Field(ge=1)
    supervised_steps: int = Field(ge=0)
    strong: Strong
    train: Train

    @model_validator(mode="after")
    def _phases(self) -> "DtmSystem":
        _one_pass(self.train)
        return self


class Systems(Section):
    """Settings of each system of its own."""

    vit: VitSystem
    dan: DanSystem
    au_cvt: AuCvtSystem
    multitask: MultitaskSystem
    emma: EmmaSystem
    cotex: CoTexSystem
    feedback: FeedbackSystem
    dtm: DtmSystem


class Finetune(Section):
    """What all supervised training has in common."""

    seed: int
    evaluate_batch: int = Field(ge=1)
    checkpoint_seconds: float = Field(gt=0)


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
