"""Masked CoTEX for the expressions of a track, on labelled faces alone. The network: `models/cotex.py`."""

from pydantic import Field

from models.cotex import CoTex
from pipeline.backbones.encoder import load_into
from pipeline.core.params import Section
from pipeline.core.paths import ENCODER
from pipeline.train.fit import Job, Recipe, Train
from pipeline.train.frames import frame_recipe


class Settings(Section):
    """`systems.cotex`: masked CoTEX."""

    views: int = Field(ge=1)
    readout_grid: int = Field(ge=0)
    mask_ratio: float = Field(ge=0, lt=1)
    consistency_weight: float = Field(ge=0)
    drop_path: float = Field(ge=0, lt=1)
    train: Train


def build(settings: Settings, job: Job) -> CoTex:
    """The views, each from the pretrained encoder."""
    job.require_expressions_alone("cotex")
    sizes = settings.model_dump(exclude={"train"})
    system = CoTex(job.vit.model_dump(), classes=len(job.track.classes), **sizes)
    if job.pretrained:
        job.needs.check(ENCODER, "every view of cotex starts from the encoder")
        for view in system.views:
            load_into(view.encoder, job.vit)  # type: ignore[arg-type]
    return system


def recipe(settings: Settings, job: Job) -> Recipe:
    """Labelled faces alone."""
    made, _ = frame_recipe(build(settings, job), settings.train, job)
    return made
