"""Masked CoTEX for the expressions of a track, on labelled faces alone. The network: `models/cotex.py`."""

from pydantic import Field, model_validator

from models.cotex import CoTex, View
from pipeline.backbones.build import BackboneSettings
from pipeline.core.params import Section
from pipeline.train.fit import Job, Recipe, Train
from pipeline.train.frames import frame_recipe
from pipeline.train.start import start_encoder


class Settings(Section):
    """`systems.cotex`: masked CoTEX."""

    backbone: BackboneSettings
    views: int = Field(ge=1)
    mask_ratio: float = Field(ge=0, lt=1)
    consistency_weight: float = Field(ge=0)
    drop_path: float = Field(ge=0, lt=1)
    train: Train

    @model_validator(mode="after")
    def _hidden_cells(self) -> "Settings":
        if self.mask_ratio and self.backbone.readout_grid and not self.backbone.standardise:
            raise ValueError(
                "backbone.standardise must be true where cells are read under masks: a hidden one counts as the mean"
                " of its place"
            )
        return self


def build(settings: Settings, job: Job) -> CoTex:
    """The views, each from the same pretrained ViT."""
    job.require_expressions_alone("cotex")
    classes = len(job.track.classes)
    views = [View(start_encoder(settings.backbone, job, settings.drop_path), classes) for _ in range(settings.views)]
    return CoTex(views, mask_ratio=settings.mask_ratio, consistency_weight=settings.consistency_weight)


def recipe(settings: Settings, job: Job) -> Recipe:
    """Labelled faces alone."""
    made, _ = frame_recipe(build(settings, job), settings.train, job)
    return made
