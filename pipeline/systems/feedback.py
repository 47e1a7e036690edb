"""Semi-supervised pretraining with feedback, for expressions: phase one, a teacher and a student.

Phase two is `temporal.py`, over the student's features. The networks: `models/feedback.py`, `models/temporal.py`. The
stages `pretrain_feedback` and `finetune_temporal` run the two phases; `finetune` does not.
"""

from pathlib import Path

from pydantic import Field, model_validator
from torch import Tensor, nn

from models.feedback import Classifier, Feedback
from models.system import Batch
from models.vit import freeze
from pipeline.backbones.build import BackboneSettings, build_backbone
from pipeline.backbones.device import device
from pipeline.backbones.encoder import Vit
from pipeline.backbones.features import Extractor
from pipeline.backbones.loading import load_weights
from pipeline.core.params import Section
from pipeline.core.paths import EXTRA, FACES
from pipeline.systems.temporal import Temporal
from pipeline.train.data import NO_POOL, UnlabelledFaces
from pipeline.train.fit import Job, Recipe, Train, check_one_pass
from pipeline.train.frames import frame_recipe
from pipeline.train.start import start_backbone
from pipeline.train.views import Strong, views

STUDENT = "student.safetensors"


class Spatial(Section):
    """Phase one: teacher and student."""

    backbone: BackboneSettings
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
        check_one_pass(self.train)
        if self.head_start_steps + self.labelled_steps > self.train.optimise.steps:
            raise ValueError("head_start_steps and labelled_steps must leave room in train.optimise.steps")
        if self.train.patience_evaluations:
            raise ValueError("train.patience_evaluations must be 0: the student does not learn all the time")
        return self


class Settings(Section):
    """`systems.feedback`: semi-supervised pretraining with feedback, then the temporal encoder."""

    spatial: Spatial
    temporal: Temporal


def build_pair(settings: Spatial, job: Job) -> Feedback:
    """Teacher and student of the same kind, from the same start but for their classifiers."""
    job.require_expressions_alone("feedback")
    own = ("feedback", "temperature", "unsupervised_weight", "ramp_steps", "head_start_steps", "labelled_steps")
    teacher, student = (start_backbone(settings.backbone, job) for _ in range(2))
    return Feedback(
        teacher,
        student,
        classes=len(job.track.classes),
        total_steps=settings.train.optimise.steps,
        **{name: getattr(settings, name) for name in own},
    )


def pair_recipe(settings: Spatial, job: Job) -> Recipe:
    """Balanced labelled faces and a larger batch of the pool's, in a weak and a strong view.

    Without a pool on its line the student is trained on labelled faces from the first update, and there is no teacher.
    """
    pooled = job.needs.names(FACES / EXTRA)
    if not pooled:
        settings = settings.model_copy(update={"head_start_steps": 0, "labelled_steps": settings.train.optimise.steps})
    made, data = frame_recipe(build_pair(settings, job), settings.train, job)
    if not pooled:
        made.without = (NO_POOL,)
        return made
    labelled, weaken = made.batches, made.prepare
    pool = UnlabelledFaces(data.pixels, job.needs)
    size = settings.train.optimise.batch * settings.unlabelled_ratio

    def prepare(batch: Batch) -> Batch:
        seen = views(batch.pop("unlabelled"), settings.train.augment, settings.strong, data.pixels)
        return weaken(batch) | seen

    made.batches = lambda generator, step: labelled(generator, step) | {"unlabelled": pool.sample(generator, size)}
    made.prepare = prepare
    return made


# --- the student as a backbone ---------------------------------------------------------------------------------------


class StudentFeatures(nn.Module):
    """The student without its classifier."""

    def __init__(self, student: Classifier) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, P, P) to (B, width)."""
        return self.student.features(images)


def student_extractor(student: Classifier) -> Extractor:
    """The features that the temporal encoder reads."""
    return Extractor(StudentFeatures(student), student.backbone.pixels)


def load_student(settings: Spatial, vit: Vit, classes: int, folder: Path) -> Classifier:
    """The student that `pretrain_feedback` left in `folder`, in evaluation mode."""
    student = Classifier(build_backbone(settings.backbone, vit, pretrained=False), classes)
    load_weights(student, folder / STUDENT, "the feedback system's student")
    freeze(student)
    return student.to(device())
