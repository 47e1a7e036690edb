"""Train a system from its recipe, judge it on the validation set, publish what came of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from models.system import Batch, Trainee
from pipeline.base.curves import write_curve
from pipeline.base.params import Finetune, Train
from pipeline.scoring import Tasks, baselines, decide, fill_missing, official_score, write_predictions
from pipeline.train.checkpoint import save_tensors
from pipeline.train.data import Axis
from pipeline.train.loop import Training, train
from pipeline.train.seeding import seed_step

Batches = Callable[[np.random.Generator, int], Batch]
Log = Callable[[dict[str, float], int], None]


class Judged(Protocol):
    """What judging asks of a track's data."""

    track: str
    validation: Axis
    validation_labels: Tasks
    test: Axis


@dataclass
class Recipe:
    """A system with what the training loop needs to train it.

    `scores` gives its scores of every row of an axis, NaN where a row has no face; `after_epoch` and `epoch_steps` as
    in `Training`.
    """

    module: Trainee
    data: Judged
    train: Train
    batches: Batches
    prepare: Callable[[Batch], Batch]
    scores: Callable[[Trainee, Axis], Tasks]
    after_epoch: Callable[[Trainee, Trainee], dict[str, float]] | None = None
    epoch_steps: int = 0


def seed_weights(settings: Finetune) -> None:
    """Before a system is built: its new parts are drawn from the seed."""
    seed_step(settings.seed, 2**32 - 1)


def judge(track: str, axis: Axis, labels: Tasks, scores: Tasks) -> dict:
    """Official metric on a whole axis, frames without a face filled in."""
    return official_score(track, labels, decide(fill_missing(axis.table, scores, axis.present)))


def validation_score(made: Recipe, module: Trainee) -> dict:
    """Official metric on the whole validation axis."""
    data = made.data
    return judge(data.track, data.validation, data.validation_labels, made.scores(module, data.validation))


def fit(name: str, made: Recipe, settings: Finetune, folder: Path, log: Log) -> tuple[Trainee, Training]:
    """Train to the best step on the validation set; checkpoints lie in `folder`."""
    training = Training(
        name=name,
        module=made.module,
        batches=made.batches,
        prepare=made.prepare,
        optimise=made.train.optimise,
        seed=settings.seed,
        folder=folder,
        log=log,
        evaluate=lambda module: validation_score(made, module)["score"],
        evaluate_every=made.train.evaluate_every_steps,
        patience=made.train.patience_evaluations,
        after_epoch=made.after_epoch,
        epoch_steps=made.epoch_steps,
        checkpoint_seconds=settings.checkpoint_seconds,
    )
    return train(training), training


def publish(out: Path, made: Recipe, module: Trainee, training: Training) -> dict:
    """Write weights, predictions of validation and test, metrics and curve; returns the metrics."""
    data = made.data
    validation = made.scores(module, data.validation)
    for name, axis, scores in (
        ("validation", data.validation, validation),
        ("test", data.test, made.scores(module, data.test)),
    ):
        write_predictions(out / f"{name}.parquet", axis.table, scores, axis.present)
    metrics = judge(data.track, data.validation, data.validation_labels, validation)
    metrics |= {"baselines": baselines(data.track, data.validation_labels)}
    save_tensors(out / "weights.safetensors", module.state_dict())
    write_curve(out / "curve.csv", training.history)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    return metrics
