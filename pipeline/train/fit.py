"""Train a system from its recipe, judge it on the validation set, write what came of it.

A system (`pipeline/systems/<name>.py`) turns its settings and a `Job` into a `Recipe`; `fit` trains the recipe with the
one loop (`loop.py`, read that next) and `write_results` leaves weights, predictions, metrics and curve.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
from pydantic import Field
from torch import Tensor

from models.system import Batch, Trainee
from pipeline.abaw.tracks import TRACK_OF_TASK, Track
from pipeline.backbones.device import device
from pipeline.backbones.encoder import Vit
from pipeline.core.errors import MienError
from pipeline.core.files import write_json
from pipeline.core.graph import Fold, Needs
from pipeline.core.params import Section
from pipeline.core.paths import ARTIFACTS
from pipeline.core.tensors import save_tensors
from pipeline.tables.curves import write_curve
from pipeline.tables.scores import (
    Tasks,
    baselines,
    fill_missing,
    judged_decisions,
    leaves_baselines,
    official_score,
    recordings,
    write_predictions,
)
from pipeline.train.data import Axis
from pipeline.train.loop import OFFICIAL, Loop, train
from pipeline.train.optimiser import Optimise
from pipeline.train.randomness import seed_step
from pipeline.train.speed import Speed
from pipeline.train.views import Augment

Batches = Callable[[np.random.Generator, int], Batch]
Log = Callable[[dict[str, float], int], None]
Kind = TypeVar("Kind", bound=Section)


class Judged(Protocol):
    """What judging asks of a track's data; `judged` are the validation rows that the score depends on."""

    track: str
    validation: Axis
    judged: Axis
    validation_labels: Tasks
    test: Axis


class Train(Section):
    """How one system is trained: sampling, augmentation, optimiser, and how it is judged.

    `best_of`: the step that is kept is the best of the official metric, or of each task apart (EMMA's authors).
    """

    balance: float = Field(ge=0, le=1)
    evaluate_every_steps: int = Field(ge=1)
    patience_evaluations: int = Field(default=0, ge=0)
    best_of: Literal["sum", "each_task"] = "sum"
    augment: Augment
    optimise: Optimise


def with_balance(settings: Kind, balance: float | None, where: str) -> Kind:
    """A system's settings with another balance of sampling; `where` names the line that asks for it."""
    if balance is None:
        return settings
    train = getattr(settings, "train", None)
    if not isinstance(train, Train):
        raise MienError(f"params.yaml: {where}: balance: nothing of this system is trained; leave it out")
    return settings.model_copy(update={"train": train.model_copy(update={"balance": balance})})


def check_one_pass(train: Train) -> None:
    """Refuse gathered gradients where a system's updates depend on one another."""
    if train.optimise.accumulate != 1:
        raise ValueError("accumulate must be 1: the updates of this system depend on one another")


class Finetune(Section):
    """What all supervised training has in common.

    `mirror`: a face's scores are the mean of its own and its mirror's, whatever the frame-wise system.
    """

    seed: int
    evaluate_batch: int = Field(ge=1)
    mirror: bool = True
    checkpoint_seconds: float = Field(gt=0)
    speed: Speed = Field(default_factory=Speed)


@dataclass(frozen=True)
class Job:
    """What one training is given: its track, the encoder's sizes, what it may read, and how it is judged.

    `pretrained` False builds the system without any pretrained part: for weights that are loaded afterwards, and as the
    control of an ablation. `fold` deals training and validation recordings anew. `further` are external sets with their
    share of each batch. `mirror` as in `Finetune`.
    """

    track: Track
    vit: Vit
    needs: Needs
    evaluate_batch: int
    pretrained: bool = True
    fold: Fold | None = None
    further: Mapping[str, float] = field(default_factory=dict)
    mirror: bool = True

    def check_own(self, path: Path, why: str) -> Path:
        """`path`, which must be needed when this pipeline made it; weights.yaml declares what it did not make."""
        return self.needs.check(path, why) if path.is_relative_to(ARTIFACTS) else path

    def require_expressions_alone(self, system: str) -> None:
        """Refuse a track whose tasks the system does not predict."""
        if self.track.tasks != ("expression",):
            tasks = ", ".join(self.track.tasks)
            raise MienError(f"{system} predicts expressions alone; {self.track.name} has {tasks}", exit_code=2)


@dataclass(kw_only=True)
class Scored:
    """A system with what judging it takes: all that a published one needs, of which nothing is trained.

    `scores` gives its scores of every row of an axis, NaN where a row has no face. `without` names what the system does
    without because the data have none of it. `best` are the module's scores of `data.judged`, where this process has
    seen its best step.
    """

    module: Trainee
    data: Judged
    scores: Callable[[Trainee, Axis], Tasks]
    without: tuple[str, ...] = ()
    best: Tasks | None = None


@dataclass(kw_only=True)
class Recipe(Scored):
    """A system with what the training loop needs to train it; `after_epoch` and `epoch_steps` as in `Loop`."""

    train: Train
    batches: Batches
    prepare: Callable[[Batch], Batch]
    after_epoch: Callable[[Trainee, Trainee], dict[str, float]] | None = None
    epoch_steps: int = 0


@dataclass
class Untrained:
    """What a `Loop` holds in the end, of a system that was judged as it is."""

    history: list[dict[str, float]]
    bests: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def seed_weights(settings: Finetune) -> None:
    """Before a system is built: its new parts are drawn from the seed."""
    seed_step(settings.seed, 2**32 - 1)


def judge(track: str, axis: Axis, labels: Tasks, scores: Tasks) -> dict:
    """Official metric on a whole axis, frames without a face filled in."""
    return official_score(track, labels, judged_decisions(labels, fill_missing(axis.table, scores, axis.present)))


def validation_score(made: Scored, scores: Tasks) -> dict:
    """Official metric on the validation axis, from the scores of its judged rows."""
    data = made.data
    return judge(data.track, data.judged, data.validation_labels, scores)


def best_scores(made: Scored, module: Trainee) -> Tasks:
    """Scores of the judged rows by the trained module: as they were at its best step, or predicted now."""
    return made.best or made.scores(module, made.data.judged)


def validation_scores(made: Scored, module: Trainee) -> Tasks:
    """Scores of the whole validation axis: those of the best step where they hold all its faces, else predicted now."""
    axis, judged = made.data.validation, made.data.judged
    if (axis.present == judged.present).all():
        return best_scores(made, module)
    return made.scores(module, axis)  # all in one: a score's last digit may depend on what else is in its batch


class _Judging:
    """Scores the judged rows at an evaluation, and leaves those of the best step in the recipe."""

    def __init__(self, made: Recipe) -> None:
        self.made = made
        self.last: Tasks = {}

    def evaluate(self, module: Trainee) -> dict[str, float]:
        """The official metric, and that of each task where its own best step is wanted."""
        self.last = self.made.scores(module, self.made.data.judged)
        found = validation_score(self.made, self.last)
        apart = self.made.train.best_of == "each_task" and len(self.last) > 1
        tracks = [TRACK_OF_TASK[task] for task in self.last if apart]
        return {OFFICIAL: found["score"]} | {f"{OFFICIAL}_{track}": found[track]["score"] for track in tracks}

    def keep(self) -> None:
        """The last evaluation was the best."""
        self.made.best = self.last


def fit(name: str, made: Recipe, settings: Finetune, folder: Path, log: Log) -> tuple[Trainee, Loop]:
    """Train to the best step on the validation set; checkpoints lie in `folder`."""
    judging = _Judging(made)
    loop = Loop(
        name=name,
        module=made.module,
        batches=made.batches,
        prepare=made.prepare,
        optimise=made.train.optimise,
        seed=settings.seed,
        folder=folder,
        log=log,
        evaluate=judging.evaluate,
        keep=judging.keep,
        evaluate_every=made.train.evaluate_every_steps,
        patience=made.train.patience_evaluations,
        after_epoch=made.after_epoch,
        epoch_steps=made.epoch_steps,
        checkpoint_seconds=settings.checkpoint_seconds,
        speed=settings.speed,
    )
    return train(loop), loop


def fit_or_judge(
    name: str, made: Scored, settings: Finetune, folder: Path, log: Log
) -> tuple[Trainee, Loop | Untrained]:
    """Train a recipe (`fit`); judge a system of which nothing is trained as it is."""
    if isinstance(made, Recipe):
        return fit(name, made, settings, folder, log)
    module = made.module.to(device()).eval()
    made.best = made.scores(module, made.data.judged)
    row = {OFFICIAL: validation_score(made, made.best)["score"]}
    log(row, 0)
    return module, Untrained([{"step": 0, **row}])


def write_results(out: Path, made: Scored, module: Trainee, loop: Loop | Untrained) -> dict:
    """Write weights, predictions of validation and test, metrics and curve; returns the metrics."""
    data = made.data
    validation, test = validation_scores(made, module), made.scores(module, data.test)
    save_tensors(out / "weights.safetensors", module.state_dict())
    for task in validation:
        if state := loop.bests.get(f"{OFFICIAL}_{TRACK_OF_TASK[task]}"):
            module.load_state_dict(state)
            save_tensors(out / task_weights(task), state)
            validation[task] = made.scores(module, data.validation)[task]
            test[task] = made.scores(module, data.test)[task]
            module.load_state_dict(loop.bests[OFFICIAL])
    for name, axis, scores in (("validation", data.validation, validation), ("test", data.test, test)):
        write_predictions(out / f"{name}.parquet", axis.table, scores, axis.present)
    metrics = judged_metrics(made, validation)
    write_curve(out / "curve.csv", loop.history)
    write_json(out / "metrics.json", metrics)
    return metrics


def task_weights(task: str) -> str:
    """The file of the weights of a task's own best step, where it was kept apart."""
    return f"weights-{task}.safetensors"


def judged_metrics(made: Scored, validation: Tasks) -> dict:
    """The official metric of validation beside the baselines, whether it leaves them, and what the system lacks."""
    axis, labels, track = made.data.validation, made.data.validation_labels, made.data.track
    decided = judged_decisions(labels, fill_missing(axis.table, validation, axis.present))
    found = official_score(track, labels, decided) | {
        "baselines": baselines(track, labels),
        "leaves_baselines": leaves_baselines(track, labels, decided, recordings(axis.table, track)),
    }
    return found | ({"without": list(made.without)} if made.without else {})


def verdict(metrics: dict) -> str:
    """The score in a line for the terminal; a system that has learnt nothing is told from one that has."""
    constant, chance = (metrics["baselines"][name] for name in ("constant", "chance"))
    told = f"validation {metrics['score']:.3f}; best constant {constant:.3f}, chance {chance:.3f}"
    if not metrics["leaves_baselines"]:
        told += "\nwarning: no better than these; give it more passes, another rate, or leave it out of the ensemble"
    return told + "".join(f"\nwithout {lack}" for lack in metrics.get("without", []))
