"""The dynamic threshold module for expressions, and its baselines. Networks: `models/dtm.py`, `models/thresholds.py`.

The rule that decides which answers on the pool count as labels is `threshold`: `dynamic` (published), or FixMatch's and
FreeMatch's beside it.
"""

from typing import Literal, cast

import numpy as np
import torch
from pydantic import Field, model_validator

from models.dtm import Dtm
from models.system import Batch, System, Trainee
from models.thresholds import DynamicThreshold, FixedThreshold, SelfAdaptiveThreshold
from pipeline.backbones.build import BackboneSettings
from pipeline.backbones.device import device
from pipeline.core.params import Section
from pipeline.core.paths import EXTRA, FACES
from pipeline.run.parallel import prefetched
from pipeline.train.data import NO_POOL, TrackData, UnlabelledFaces
from pipeline.train.fit import Job, Recipe, Train, check_one_pass
from pipeline.train.frames import frame_recipe
from pipeline.train.infer import predict_images
from pipeline.train.start import start_backbone
from pipeline.train.views import Strong, views


class Settings(Section):
    """`systems.dtm`: the dynamic threshold module and its baselines.

    A class's threshold is measured on at most `threshold_faces` of its labelled faces (published: on all), drawn anew
    each epoch: the mean of 2,000 confidences is known to a hundredth.
    """

    backbone: BackboneSettings
    threshold: Literal["dynamic", "fixed", "self_adaptive"]
    floor: float = Field(gt=0, lt=1)
    threshold_momentum: float = Field(ge=0, lt=1)
    fixed_threshold: float = Field(gt=0, lt=1)
    threshold_faces: int = Field(ge=1)
    epoch_steps: int = Field(ge=1)
    scale: float = Field(gt=0)
    unlabelled_weight: float = Field(ge=0)
    unlabelled_batch: int = Field(ge=1)
    supervised_steps: int = Field(ge=0)
    strong: Strong
    train: Train

    @model_validator(mode="after")
    def _phases(self) -> "Settings":
        check_one_pass(self.train)
        return self


def build(settings: Settings, job: Job) -> Dtm:
    """The network with the threshold rule that params name."""
    job.require_expressions_alone("dtm")
    classes = len(job.track.classes)
    return Dtm(
        start_backbone(settings.backbone, job),
        build_threshold(settings, classes),
        classes=classes,
        scale=settings.scale,
        unlabelled_weight=settings.unlabelled_weight,
        supervised_steps=settings.supervised_steps,
    )


def build_threshold(settings: Settings, classes: int) -> FixedThreshold:
    """The rule that params name."""
    if settings.threshold == "fixed":
        return FixedThreshold(classes, settings.fixed_threshold)
    if settings.threshold == "dynamic":
        return DynamicThreshold(classes, settings.floor, settings.threshold_momentum)
    return SelfAdaptiveThreshold(classes, settings.threshold_momentum)


def recipe(settings: Settings, job: Job) -> Recipe:
    """Labelled faces and the pool's in three views; thresholds follow the averaged model once an epoch.

    Without a pool on its line, or where its faces weigh nothing, it is trained on labelled faces alone.
    """
    pooled = settings.unlabelled_weight > 0 and job.needs.names(FACES / EXTRA)
    made, data = frame_recipe(build(settings, job), settings.train, job)
    cast(Dtm, made.module).unlabelled_weight = settings.unlabelled_weight if pooled else 0.0
    made.without = () if pooled or not settings.unlabelled_weight else (NO_POOL,)
    labelled, weaken = made.batches, made.prepare
    pool = UnlabelledFaces(data.pixels, job.needs) if pooled else None

    def batches(generator: np.random.Generator, step: int) -> Batch:
        batch = labelled(generator, step)
        if step < settings.supervised_steps or pool is None:
            return batch
        return batch | {"unlabelled": pool.sample(generator, settings.unlabelled_batch)}

    def prepare(batch: Batch) -> Batch:
        unlabelled = batch.pop("unlabelled", None)
        if unlabelled is None:
            return weaken(batch)
        return weaken(batch) | views(unlabelled, settings.train.augment, settings.strong, data.pixels)

    def after_epoch(module: Trainee, averaged: Trainee) -> dict[str, float]:
        assert isinstance(module, Dtm) and isinstance(averaged, Dtm)
        rows = at_most_of_each(data.labels["expression"], settings.threshold_faces)
        probabilities = labelled_probabilities(averaged, data, rows, job.evaluate_batch)
        labels = torch.from_numpy(data.labels["expression"][rows].astype(np.int64)).to(device())
        module.threshold.update(probabilities, labels)
        # both, or averaging would drag the averaged model's thresholds behind
        averaged.threshold.load_state_dict(module.threshold.state_dict())
        tau = module.threshold.tau.tolist()
        return {f"threshold_{name}": round(value, 6) for name, value in zip(job.track.classes, tau, strict=True)}

    made.batches, made.prepare = batches, prepare
    made.after_epoch, made.epoch_steps = after_epoch, settings.epoch_steps
    return made


def at_most_of_each(labels: np.ndarray, most: int) -> np.ndarray:
    """Rows in their order, at most `most` of each label (rows,), drawn from torch's global generator."""
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    drawn = [few if len(few) <= most else few[torch.randperm(len(few))[:most].numpy()] for few in rows]
    return np.sort(np.concatenate(drawn))


def labelled_probabilities(system: System, data: TrackData, rows: np.ndarray, batch: int) -> torch.Tensor:
    """Expression probabilities (rows, classes) of some labelled faces, as at prediction: no change, none dropped."""
    places = data.places[rows]
    images = (data.crops.images(places[i : i + batch], data.pixels) for i in range(0, len(places), batch))
    parts = [predict_images(system, seen)["expression"] for seen in prefetched(images)]
    return torch.from_numpy(np.concatenate(parts)).to(device())
