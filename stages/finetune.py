"""Fine-tune one system for one track, judged by the track's official metric on the validation set.

Reads the track's faces and labels, its pseudo-labels where it has any, and the pretrained encoder; writes
`artifacts/systems/<track>/<system>/`: weights.safetensors, validation.parquet, test.parquet, metrics.json, curve.csv.
Run it with `dvc repro finetune@<system>-<track>` or `python -m stages.finetune <system> <track>`. A killed run goes
on from its last checkpoint.
"""

import json
import sys
from pathlib import Path
from typing import cast

from models.system import System
from pipeline.base.command import run_main
from pipeline.base.curves import write_curve
from pipeline.base.params import Params, load_params
from pipeline.base.tracking import stage_run
from pipeline.layout import ENCODER, EXTRA, FACES, LABELS, PSEUDO, SYSTEMS
from pipeline.publish import atomic_dir
from pipeline.scoring import baselines, decide, fill_missing, official_score, write_predictions
from pipeline.tracks import DATASET_OF
from pipeline.train.augmenting import augmenter
from pipeline.train.checkpoint import drop_checkpoints, save_tensors
from pipeline.train.data import Axis, TrackData
from pipeline.train.loop import Training, train
from pipeline.train.predict import predict_axis
from pipeline.train.seeding import seed_step
from pipeline.train.systems import build_system
from pipeline.train.work import training_folder


def stage_inputs(track: str) -> list[Path]:
    """What decides the result of a track's training, beside params and code."""
    paths = [FACES / DATASET_OF[track], LABELS / f"{track}.parquet", ENCODER]
    return paths + ([PSEUDO / track, FACES / EXTRA] if (PSEUDO / track).is_dir() else [])


def validation_score(data: TrackData, module: System, batch: int) -> dict:
    """Official metric on the whole validation axis, frames without a face filled in."""
    axis = data.validation
    scores = predict_axis(module, data.crops, axis.places, data.pixels, batch)
    filled = fill_missing(axis.table, scores, axis.present)
    return official_score(data.track, data.validation_labels, decide(filled))


def publish(out: Path, data: TrackData, module: System, training: Training, batch: int) -> dict:
    """Write weights, predictions, metrics and curve; returns the metrics."""
    axes: dict[str, Axis] = {"validation": data.validation, "test": data.test}
    for name, axis in axes.items():
        scores = predict_axis(module, data.crops, axis.places, data.pixels, batch)
        write_predictions(out / f"{name}.parquet", axis.table, scores, axis.present)
    metrics = validation_score(data, module, batch) | {"baselines": baselines(data.track, data.validation_labels)}
    save_tensors(out / "weights.safetensors", module.state_dict())
    write_curve(out / "curve.csv", training.history)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    return metrics


def finetune(system: str, track: str, params: Params) -> None:
    """Train, predict validation and test, publish."""
    settings = params.finetune
    logged = {
        "finetune": settings.model_dump(),
        "vit": params.vit.model_dump(),
        "system": getattr(params.systems, system).model_dump(),
        "track": track,
    }
    inputs = stage_inputs(track)
    with stage_run(f"finetune@{system}-{track}", logged, inputs) as run:
        data = TrackData(track, settings, params.vit.image_pixels)
        seed_step(settings.seed, 2**32 - 1)
        training = Training(
            name=f"finetune {system} {track}",
            module=build_system(system, track, params, au_pos_weight=data.au_pos_weight()),
            batches=lambda generator, step: data.batch(generator, settings.optimise.batch),
            prepare=augmenter(settings.augment, params.vit.image_pixels),
            optimise=settings.optimise,
            seed=settings.seed,
            folder=training_folder(f"finetune-{system}-{track}", "stages.finetune", logged, inputs),
            log=run.log,
            evaluate=lambda module: validation_score(data, cast(System, module), settings.evaluate_batch)["score"],
            evaluate_every=settings.evaluate_every_steps,
            checkpoint_seconds=settings.checkpoint_seconds,
        )
        module = cast(System, train(training))
        with atomic_dir(SYSTEMS / track / system) as out:
            metrics = publish(out, data, module, training, settings.evaluate_batch)
        drop_checkpoints(training.folder.parent)
        run.log({"validation_score": metrics["score"]})
        run.artifact(SYSTEMS / track / system)
        print(f"finetune {system} {track}: validation {metrics['score']:.3f}, baselines {metrics['baselines']}")


def main() -> None:
    """Read the system and the track from the command line."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m stages.finetune SYSTEM TRACK")
    finetune(sys.argv[1], sys.argv[2], load_params())


if __name__ == "__main__":
    run_main(main)
