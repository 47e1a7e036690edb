"""How each system is fed: which batches, what is changed on the device, what happens once an epoch."""

from pathlib import Path
from typing import cast

import numpy as np
import torch

from models.dtm import Dtm
from models.system import Batch, System, Trainee
from pipeline.abaw.tracks import EXPRESSIONS
from pipeline.base.params import Params, Train
from pipeline.layout import PSEUDO
from pipeline.tracks import TASKS_OF
from pipeline.train.appearance import appearance_targets
from pipeline.train.au_labels import RealAus, au_labels
from pipeline.train.augmenting import augmenter
from pipeline.train.data import PseudoFaces, TrackData, join
from pipeline.train.fit import Batches, Recipe
from pipeline.train.loop import device
from pipeline.train.predict import predict_axis
from pipeline.train.systems import build_feedback, build_system
from pipeline.train.unlabelled import UnlabelledFaces, views


def recipe(name: str, track: str, params: Params, needs: Path | None = None, pretrained: bool = True) -> Recipe:
    """The system `name` for a track; `needs` is what its stage reads beside faces, labels and encoder.

    Draws the new parts' weights from torch's global generator.
    """
    train: Train = getattr(params.systems, name).train if name != "feedback" else params.systems.feedback.spatial.train
    module = build_feedback(params, pretrained) if name == "feedback" else build_system(name, track, params, pretrained)
    data = TrackData(track, module.pixels, train.balance)
    batch = params.finetune.evaluate_batch
    simple = Recipe(
        module=module,
        data=data,
        train=train,
        batches=_labelled(data, train),
        prepare=augmenter(train.augment, data.pixels),
        scores=lambda m, axis: predict_axis(cast(System, m), data.crops, axis.places, data.pixels, batch),
    )
    match name:
        case "vit":
            return _vit(simple, data, params, needs)
        case "au_cvt":
            return _au_cvt(simple, data, params, needs)
        case "multitask":
            data.extra = appearance_targets(data.crops, data.places, params.systems.multitask)
        case "emma":
            odds = params.systems.emma.au_pos_weight or data.au_odds().tolist()
            module.au_pos_weight = torch.tensor(odds)
        case "feedback":
            return _feedback(simple, data, params)
        case "dtm":
            return _dtm(simple, data, params)
    return simple


def _labelled(data: TrackData, train: Train) -> Batches:
    return lambda generator, step: data.batch(generator, train.optimise.batch)


def _vit(made: Recipe, data: TrackData, params: Params, needs: Path | None) -> Recipe:
    """A share of the batch from the pool, with a teacher's labels, where the stage names some."""
    settings, size = params.systems.vit, made.train.optimise.batch
    if weights := data.au_pos_weight():
        made.module.au_pos_weight = torch.tensor(weights)
    if needs is None or not needs.is_relative_to(PSEUDO):
        return made
    (task,) = TASKS_OF[data.track]
    pool = PseudoFaces(needs, task, data.pixels, data.balance)
    share = round(size * settings.pseudo_fraction) if len(pool) else 0
    if share:
        made.batches = lambda generator, step: join(data.batch(generator, size - share), pool.batch(generator, share))
    return made


def _au_cvt(made: Recipe, data: TrackData, params: Params, needs: Path | None) -> Recipe:
    """AU labels of the training faces, or a further share of the batch from the faces of a real AU data set."""
    settings, size = params.systems.au_cvt, made.train.optimise.batch
    if settings.au_labels != "real":
        data.extra = {"aus": au_labels(data, settings, needs)}
        return made
    real = RealAus(data.pixels)
    share = round(size * settings.real_fraction)
    made.batches = lambda generator, step: join(
        real.unlabelled_aus(data.batch(generator, size - share)), real.batch(generator, share)
    )
    return made


def _feedback(made: Recipe, data: TrackData, params: Params) -> Recipe:
    """Balanced labelled faces and a larger batch of the pool's, in a weak and a strong view."""
    settings = params.systems.feedback.spatial
    labelled, pool = made.batches, UnlabelledFaces(data.pixels)
    size = made.train.optimise.batch * settings.unlabelled_ratio
    weaken = made.prepare

    def prepare(batch: Batch) -> Batch:
        seen = views(batch.pop("unlabelled"), made.train.augment, settings.strong, data.pixels)
        return weaken(batch) | seen

    made.batches = lambda generator, step: labelled(generator, step) | {"unlabelled": pool.sample(generator, size)}
    made.prepare = prepare
    return made


def _dtm(made: Recipe, data: TrackData, params: Params) -> Recipe:
    """Labelled faces and the pool's in three views; thresholds follow the averaged model once an epoch."""
    settings = params.systems.dtm
    labelled, pool, weaken = made.batches, UnlabelledFaces(data.pixels), made.prepare

    def batches(generator: np.random.Generator, step: int) -> Batch:
        batch = labelled(generator, step)
        if step < settings.supervised_steps or not settings.unlabelled_weight:
            return batch
        return batch | {"unlabelled": pool.sample(generator, settings.unlabelled_batch)}

    def prepare(batch: Batch) -> Batch:
        unlabelled = batch.pop("unlabelled", None)
        if unlabelled is None:
            return weaken(batch)
        return weaken(batch) | views(unlabelled, made.train.augment, settings.strong, data.pixels)

    def after_epoch(module: Trainee, averaged: Trainee) -> dict[str, float]:
        assert isinstance(module, Dtm) and isinstance(averaged, Dtm)
        probabilities = labelled_probabilities(averaged, data, params.finetune.evaluate_batch)
        labels = torch.from_numpy(data.labels["expression"].astype(np.int64)).to(device())
        module.threshold.update(probabilities, labels)
        # both, or averaging would drag the averaged model's thresholds behind
        averaged.threshold.load_state_dict(module.threshold.state_dict())
        tau = module.threshold.tau.tolist()
        return {f"threshold_{name}": round(value, 6) for name, value in zip(EXPRESSIONS, tau, strict=True)}

    made.batches, made.prepare = batches, prepare
    made.after_epoch, made.epoch_steps = after_epoch, settings.epoch_steps
    return made


def labelled_probabilities(system: System, data: TrackData, batch: int) -> torch.Tensor:
    """Expression probabilities (rows, classes) of the whole labelled set, as at prediction: no change, none dropped."""
    places = data.places
    parts = [
        system.predict({"images": torch.from_numpy(data.crops.images(places[i : i + batch], data.pixels)).to(device())})
        for i in range(0, len(places), batch)
    ]
    return torch.cat([part["expression"] for part in parts])
