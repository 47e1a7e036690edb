"""Train a system from its recipe, judge it on the validation set, predict its axes."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

from models.system import System
from pipeline.base.params import Finetune
from pipeline.scoring import Tasks, decide, fill_missing, official_score
from pipeline.train.data import Axis
from pipeline.train.loop import Training, train
from pipeline.train.predict import predict_axis
from pipeline.train.recipes import Recipe
from pipeline.train.seeding import seed_step

Log = Callable[[dict[str, float], int], None]


def seed_weights(settings: Finetune) -> None:
    """Before a system is built: its new parts are drawn from the seed."""
    seed_step(settings.seed, 2**32 - 1)


def axis_scores(made: Recipe, system: System, axis: Axis, batch: int) -> Tasks:
    """Scores of every row with a face, NaN elsewhere."""
    return predict_axis(system, made.data.crops, axis.places, made.data.pixels, batch)


def judge(track: str, axis: Axis, labels: Tasks, scores: Tasks) -> dict:
    """Official metric on a whole axis, frames without a face filled in."""
    return official_score(track, labels, decide(fill_missing(axis.table, scores, axis.present)))


def validation_score(made: Recipe, system: System, batch: int) -> dict:
    """Official metric on the whole validation axis."""
    scores = axis_scores(made, system, made.data.validation, batch)
    return judge(made.data.track, made.data.validation, made.data.validation_labels, scores)


def fit(name: str, made: Recipe, settings: Finetune, folder: Path, log: Log) -> tuple[System, Training]:
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
        evaluate=lambda module: validation_score(made, cast(System, module), settings.evaluate_batch)["score"],
        evaluate_every=made.train.evaluate_every_steps,
        patience=made.train.patience_evaluations,
        after_epoch=made.after_epoch,
        epoch_steps=made.epoch_steps,
        checkpoint_seconds=settings.checkpoint_seconds,
    )
    return cast(System, train(training)), training
