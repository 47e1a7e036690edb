"""Build a system for a track from params: the one place where names become networks.

Weights are drawn from torch's global generator: seed it before.
"""

from pathlib import Path

from models.au_cvt import AuCvt
from models.backbone import Backbone
from models.cotex import CoTex
from models.dan import Dan
from models.dtm import Dtm
from models.emma import Emma
from models.feedback import Feedback
from models.multitask import Multitask
from models.system import System
from models.temporal import TemporalEncoder
from models.thresholds import DynamicThreshold, FixedThreshold, SelfAdaptiveThreshold
from models.vit_heads import VitHeads
from pipeline.base.params import Backbone as BackboneParams
from pipeline.base.params import DtmSystem, Params
from pipeline.errors import MienError
from pipeline.tracks import CLASSES, TASKS_OF
from pipeline.train.backbones import build_backbone, load_weights
from pipeline.train.encoder import load_into

NAMES = ("vit", "dan", "au_cvt", "multitask", "emma", "cotex", "feedback", "dtm")


def build_system(
    name: str, track: str, params: Params, pretrained: bool = True, au_pos_weight: list[float] | None = None
) -> System:
    """The system `name` with the heads that `track` needs, pretrained parts loaded unless told otherwise."""
    if name not in NAMES:
        raise MienError(f"params.yaml: there is no system {name}; use one of: {', '.join(NAMES)}", exit_code=2)
    tasks = TASKS_OF[track]
    if name == "emma" and track != "mtl":
        raise MienError(f"emma predicts all three tasks of MTL; {track} has {', '.join(tasks)}", exit_code=2)
    if name not in ("vit", "emma") and tasks != ("expression",):
        raise MienError(f"{name} predicts expressions alone; {track} has {', '.join(tasks)}", exit_code=2)
    if name == "feedback":
        raise MienError("feedback is made by pretrain_feedback and finetune_temporal", exit_code=2)
    return _Builder(track, params, pretrained).build(name, au_pos_weight)


class _Builder:
    """What the systems' builders share."""

    def __init__(self, track: str, params: Params, pretrained: bool) -> None:
        self.params, self.pretrained = params, pretrained
        self.tasks = TASKS_OF[track]
        self.classes = len(CLASSES[track]) if "expression" in self.tasks else 0
        self.vit = params.vit.model_dump()

    def build(self, name: str, au_pos_weight: list[float] | None) -> System:
        match name:
            case "vit":
                return self._vit(au_pos_weight)
            case "dan":
                settings = self.params.systems.dan
                return Dan(classes=self.classes, **settings.model_dump(exclude={"train"}))
            case "au_cvt":
                return self._au_cvt()
            case "multitask":
                return self._multitask()
            case "emma":
                return self._emma(au_pos_weight)
            case "cotex":
                return self._cotex()
            case _:
                return self._dtm(self.params.systems.dtm)

    def backbone(self, settings: BackboneParams, drop_path: float = 0.0) -> Backbone:
        return build_backbone(settings, self.params.vit, self.pretrained, drop_path)

    def _vit(self, au_pos_weight: list[float] | None) -> VitHeads:
        settings = self.params.systems.vit
        return VitHeads(
            self.backbone(settings.backbone, settings.drop_path),
            expressions=self.classes,
            aus="aus" in self.tasks,
            va="va" in self.tasks,
            label_smoothing=settings.label_smoothing,
            pseudo_weight=settings.pseudo_weight,
            au_pos_weight=au_pos_weight,
        )

    def _au_cvt(self) -> AuCvt:
        settings = self.params.systems.au_cvt
        own = {"au_labels", "stem_weights", "real_fraction", "openface_confidence", "train"}
        regions = "abaw" if settings.au_labels in ("teacher", "real") else "openface"
        system = AuCvt(classes=self.classes, regions=regions, **settings.model_dump(exclude=own))
        if self.pretrained and settings.stem_weights:
            load_weights(system.stem, Path(settings.stem_weights), "IR-50")
        return system

    def _multitask(self) -> Multitask:
        settings = self.params.systems.multitask
        backbones = [self.backbone(network) for network in settings.networks]
        if len({backbone.pixels for backbone in backbones}) > 1:
            sizes = ", ".join(f"{b.pixels} of {n.name}" for b, n in zip(backbones, settings.networks, strict=True))
            raise MienError(f"params.yaml: systems.multitask.networks see the same crops, not {sizes} pixels")
        return Multitask(
            backbones,
            width=settings.width,
            classes=self.classes,
            appearance_weights=settings.appearance_weights.model_dump(),
            identity_width=settings.identity_components,
        )

    def _emma(self, au_pos_weight: list[float] | None) -> Emma:
        settings = self.params.systems.emma
        sizes = settings.cnn.model_dump(exclude={"weights"})
        cnn = Dan(image_pixels=self.params.vit.image_pixels, label_smoothing=0.0, **sizes)
        if self.pretrained:
            load_weights(cnn, Path(settings.cnn.weights), "DAN")
        system = Emma(
            self.vit,
            cnn.net,
            settings.cnn.classes,
            au_pos_weight=settings.au_pos_weight or au_pos_weight or [1.0] * 12,
            **settings.model_dump(exclude={"cnn", "au_pos_weight", "train"}),
        )
        if self.pretrained:
            load_into(system.encoder, self.params.vit)
        return system

    def _cotex(self) -> CoTex:
        settings = self.params.systems.cotex
        system = CoTex(self.vit, classes=self.classes, **settings.model_dump(exclude={"train"}))
        if self.pretrained:
            for view in system.views:
                load_into(view.encoder, self.params.vit)  # type: ignore[arg-type]
        return system

    def _dtm(self, settings: DtmSystem) -> Dtm:
        return Dtm(
            self.backbone(settings.backbone),
            build_threshold(settings, self.classes),
            classes=self.classes,
            scale=settings.scale,
            unlabelled_weight=settings.unlabelled_weight,
            supervised_steps=settings.supervised_steps,
        )


def build_threshold(settings: DtmSystem, classes: int) -> FixedThreshold:
    """The rule that params name."""
    if settings.threshold == "fixed":
        return FixedThreshold(classes, settings.fixed_threshold)
    if settings.threshold == "dynamic":
        return DynamicThreshold(classes, settings.floor, settings.threshold_momentum)
    return SelfAdaptiveThreshold(classes, settings.threshold_momentum)


def build_feedback(params: Params, pretrained: bool = True) -> Feedback:
    """Teacher and student of the same kind, from the same start but for their classifiers."""
    settings = params.systems.feedback.spatial
    own = ("feedback", "temperature", "unsupervised_weight", "ramp_steps", "head_start_steps", "labelled_steps")
    teacher, student = (build_backbone(settings.backbone, params.vit, pretrained) for _ in range(2))
    return Feedback(
        teacher,
        student,
        classes=len(CLASSES["expr"]),
        total_steps=settings.train.optimise.steps,
        **{name: getattr(settings, name) for name in own},
    )


def build_temporal(params: Params, features: int) -> TemporalEncoder:
    """The temporal encoder over features of the given length."""
    own = {"stride_frames", "train"}
    settings = params.systems.feedback.temporal
    return TemporalEncoder(features, classes=len(CLASSES["expr"]), **settings.model_dump(exclude=own))
