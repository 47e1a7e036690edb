"""EMMA for MTL: expression and AU scores from the encoder, valence and arousal from those scores and a frozen DAN's.

The network: `models/emma.py`.
"""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from models.dan import Dan
from models.emma import AUS, Emma
from pipeline.backbones.build import BackboneSettings, normaliser
from pipeline.backbones.loading import Local, load_weights
from pipeline.core.errors import MienError
from pipeline.core.params import Section
from pipeline.core.paths import ARTIFACTS
from pipeline.core.weights import declaration
from pipeline.systems.dan import DanSizes
from pipeline.train.fit import Job, Recipe, Train
from pipeline.train.frames import frame_recipe
from pipeline.train.start import start_encoder


class Cnn(DanSizes):
    """The frozen expression network: DAN of these sizes, its weights and its number of classes.

    It sees the crops that the ViT sees, normalised as weights.yaml says of its file.
    """

    weights: Local
    classes: int = Field(ge=2)


class Settings(Section):
    """`systems.emma`. `au_pos_weight` is taken from the training labels where it is null."""

    backbone: BackboneSettings
    cnn: Cnn
    hidden: int = Field(ge=1)
    va_hidden: int = Field(ge=1)
    va_from: Literal["scores", "features"]
    va_rate: float = Field(gt=0)
    au_weight: float = Field(default=1.0, ge=0)
    drop_path: float = Field(ge=0, lt=1)
    au_pos_weight: list[float] | None
    train: Train


def build(settings: Settings, job: Job) -> Emma:
    """The network, its ViT and its frozen DAN filled."""
    if job.track.name != "mtl":
        raise MienError(
            f"emma predicts all three tasks of MTL; {job.track.name} has {', '.join(job.track.tasks)}", exit_code=2
        )
    weights = Path(settings.cnn.weights)
    entry = None if weights.is_relative_to(ARTIFACTS) else declaration(weights)
    cnn = Dan(
        image_pixels=settings.backbone.image_pixels or job.vit.image_pixels,
        label_smoothing=0.0,
        normalise=normaliser(entry.normalisation if entry else None),
        **settings.cnn.model_dump(exclude={"weights"}),
    )
    if job.pretrained:
        load_weights(cnn, job.check_own(weights, "systems.emma.cnn.weights names it"), "DAN")
    return Emma(
        start_encoder(settings.backbone, job, settings.drop_path),
        cnn.net,
        settings.cnn.classes,
        au_pos_weight=settings.au_pos_weight or [1.0] * AUS,
        **settings.model_dump(exclude={"backbone", "cnn", "drop_path", "au_pos_weight", "train"}),
    )


def recipe(settings: Settings, job: Job) -> Recipe:
    """Labelled faces alone, AUs weighted by how rare they are unless params say how."""
    made, data = frame_recipe(build(settings, job), settings.train, job)
    made.module.au_pos_weight = torch.tensor(settings.au_pos_weight or data.au_odds().tolist())
    return made
