"""Fine-tune one system for one track, judged by the track's official metric on the validation set.

What is trained stands in params.yaml, `graph.trainings.<name>`: the system (`pipeline/systems/<system>.py`, read that
next), the track, and all that it may read. Writes `artifacts/systems/<track>/<member>/`: weights.safetensors,
validation.parquet, test.parquet, metrics.json, curve.csv. A system that is published as it is, is judged and trained no
further. Run it with `dvc repro finetune@<name>` or `python -m stages.finetune <name>`. A killed run goes on from its
last checkpoint, a finished one predicts a new test list with it.
"""

import sys
from pathlib import Path

from pipeline.abaw.tracks import trained_track
from pipeline.backbones.encoder import Vit
from pipeline.backbones.loading import load_weights
from pipeline.core.deps import stage_deps
from pipeline.core.files import atomic_dir
from pipeline.core.graph import Needs, Training
from pipeline.core.params import read_section
from pipeline.core.paths import SYSTEMS
from pipeline.core.workstore import training_folder
from pipeline.run.command import run_main, stage_argument
from pipeline.run.ranks import on_ranks
from pipeline.run.tracking import stage_run
from pipeline.systems.named import system_module
from pipeline.train.budget import stretched_training
from pipeline.train.checkpoint import keep_finished
from pipeline.train.data import training_rows
from pipeline.train.fit import Finetune, Job, fit_or_judge, seed_weights, verdict, with_balance, write_results
from pipeline.train.inputs import training_inputs


def finetune(name: str) -> None:
    """Train, predict validation and test, publish."""
    training = read_section(f"graph.trainings.{name}", Training)
    system = system_module(training.system)
    settings = read_section(f"systems.{training.system}", system.Settings)
    settings = with_balance(settings, training.balance, f"graph.trainings.{name}")
    settings = stretched_training(settings, training_rows(training.track, training.fold), training.updates)
    common, vit = read_section("finetune", Finetune), read_section("vit", Vit)
    if training.seed is not None:
        common = common.model_copy(update={"seed": training.seed})
    stage = f"finetune@{name}"
    logged = {
        "training": training.model_dump(),
        "finetune": common.model_dump(),
        "vit": vit.model_dump(),
        "system": settings.model_dump(),
    }
    with stage_run(stage, logged) as run:
        track, needs = trained_track(training.track), Needs.of(f"graph.trainings.{name}", training.needs)
        seed_weights(common)
        job = Job(
            track, vit, needs, common.evaluate_batch, fold=training.fold, further=training.further, mirror=common.mirror
        )
        made = system.recipe(settings, job)
        if training.start:
            load_weights(made.module, Path(training.start), name)
        folder = training_folder(stage, logged, training_inputs(stage_deps(stage), track))
        module, loop = fit_or_judge(f"finetune {name}", made, common, folder, run.log)
        out = SYSTEMS / track.name / training.member
        with atomic_dir(out) as target:
            metrics = write_results(target, made, module, loop)
        if folder.is_dir():  # a system that was only judged has no checkpoint
            keep_finished(folder)
        run.log({"validation_score": metrics["score"]})
        run.artifact(out)
        print(f"finetune {name}: {verdict(metrics)}")


if __name__ == "__main__":
    run_main(lambda: on_ranks(lambda: finetune(stage_argument(sys.argv, "NAME"))))
