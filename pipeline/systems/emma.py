"""EMMA for MTL: expression and AU scores from the encoder, valence and arousal from those scores and a frozen DAN's.

The network: `models/emma.py`.
"""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from models.dan import Dan
from models.emma import AUS, Emma
from pipeline.backbones.build import load_weights
from pipeline.backbones.encoder import load_into
from pipeline.core.errors import MienError
from pipeline.core.params import Section
from pipeline.core.paths import ENCODER
from pipeline.systems.dan import DanSizes
from pipeline.train.fit import Job, Recipe, Train
from pipeline.train.frames import frame_recipe


class Cnn(DanSizes):
    """The frozen expression network: DAN of these sizes, its weights and its number of classes.

    It sees what the ViT sees.
    """

    weights: str
    classes: int = Field(ge=2)


class Settings(Section):
    """`systems.emma`. `au_pos_weight` is taken from the training labels where it is null."""

    cnn: Cnn
    readout_grid: int = Field(ge=0)
    hidden: int = Field(ge=1)
    va_hidden: int = Field(ge=1)
    va_from: Literal["scores", "features"]
    va_rate: float = Field(gt=0)
    drop_path: float = Field(ge=0, lt=1)
    au_pos_weight: list[float] | None
    train: Train


def build(settings: Settings, job: Job) -> Emma:
    """The network, its encoder and its frozen DAN filled."""
    if job.track.name != "mtl":
        raise MienError(
            f"emma predicts all three tasks of MTL; {job.track.name} has {', '.join(job.track.tasks)}", exit_code=2
        )
    sizes = settings.cnn.model_dump(exclude={"weights"})
    cnn = Dan(image_pixels=job.vit.image_pixels, label_smoothing=0.0, **sizes)
    if job.pretrained:
        load_weights(cnn, job.check_own(Path(settings.cnn.weights), "systems.emma.cnn.weights names it"), "DAN")
    system = Emma(
        job.vit.model_dump(),
        cnn.net,
        settings.cnn.classes,
        au_pos_weight=settings.au_pos_weight or [1.0] * AUS,
        **settings.model_dump(exclude={"cnn", "au_pos_weight", "train"}),
    )
    if job.pretrained:
        job.needs.check(ENCODER, "emma starts from the encoder")
        load_into(system.encoder, job.vit)
    return system


def recipe(settings: Settings, job: Job) -> Recipe:
    """Labelled faces alone, AUs weighted by how rare they are unless params say how."""
    made, data = frame_recipe(build(settings, job), settings.train, job)
    made.module.au_pos_weight = torch.tensor(settings.au_pos_weight or data.au_odds().tolist())
    return made
