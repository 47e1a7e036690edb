"""One backbone with a linear head for each task of the track; for AU and EXPR a teacher's labels may join in.

The plainest system: read this one first, then `models/vit_heads.py` for the network and `train/loop.py` for the loop.
"""

import torch
from pydantic import Field

from models.vit_heads import VitHeads
from pipeline.backbones.build import BackboneSettings
from pipeline.core.params import Section
from pipeline.core.paths import PSEUDO
from pipeline.train.data import PseudoFaces, join
from pipeline.train.fit import Job, Recipe, Train
from pipeline.train.frames import frame_recipe
from pipeline.train.start import start_backbone


class Settings(Section):
    """`systems.vit`: one backbone with a head for each task."""

    backbone: BackboneSettings
    drop_path: float = Field(ge=0, lt=1)
    label_smoothing: float = Field(ge=0, lt=1)
    pseudo_weight: float = Field(ge=0)
    pseudo_fraction: float = Field(ge=0, lt=1)
    train: Train


def build(settings: Settings, job: Job) -> VitHeads:
    """The network for the job's track."""
    return VitHeads(
        start_backbone(settings.backbone, job, settings.drop_path),
        expressions=len(job.track.classes) if "expression" in job.track.tasks else 0,
        aus="aus" in job.track.tasks,
        va="va" in job.track.tasks,
        label_smoothing=settings.label_smoothing,
        pseudo_weight=settings.pseudo_weight,
    )


def recipe(settings: Settings, job: Job) -> Recipe:
    """A share of the batch from the pool, with a teacher's labels, where the training needs some."""
    made, data = frame_recipe(build(settings, job), settings.train, job)
    if weights := data.au_pos_weight():
        made.module.au_pos_weight = torch.tensor(weights)
    path = job.needs.below(PSEUDO)
    if path is None:
        return made
    (task,) = job.track.tasks
    pool = PseudoFaces(path, task, data.pixels, data.balance, job.needs)
    size = settings.train.optimise.batch
    share = round(size * settings.pseudo_fraction) if len(pool) else 0
    if share:
        made.batches = lambda generator, step: join(data.batch(generator, size - share), pool.batch(generator, share))
    return made
