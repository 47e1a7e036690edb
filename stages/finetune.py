"""Fine-tune one system for one track, judged by the track's official metric on the validation set.

Reads the track's faces and labels, the pretrained encoder, and what else the system needs (its third argument: a
teacher's labels, cached features, another system's weights); writes `artifacts/systems/<track>/<system>/`:
weights.safetensors, validation.parquet, test.parquet, metrics.json, curve.csv. Run it with `dvc repro
finetune@<system>-<track>` or `python -m stages.finetune <system> <track> <needs>`. A killed run goes on from its last
checkpoint.
"""

import sys
from pathlib import Path

from pipeline.base.command import run_main
from pipeline.base.params import Params, load_params
from pipeline.base.tracking import stage_run
from pipeline.errors import MienError
from pipeline.layout import ENCODER, EXTRA, FACES, LABELS, SYSTEMS
from pipeline.publish import atomic_dir
from pipeline.tracks import DATASET_OF
from pipeline.train.checkpoint import drop_checkpoints
from pipeline.train.declared import declared_inputs
from pipeline.train.fit import fit, publish, seed_weights
from pipeline.train.recipes import recipe
from pipeline.train.work import training_folder


def finetune(system: str, track: str, needs: Path, params: Params) -> None:
    """Train, predict validation and test, publish."""
    settings = params.finetune
    if system == "feedback":
        raise MienError("feedback is made by pretrain_feedback and finetune_temporal, not by finetune", exit_code=2)
    if not hasattr(params.systems, system):
        raise MienError(f"params.yaml: systems has no {system}", exit_code=2)
    logged = {
        "finetune": settings.model_dump(),
        "vit": params.vit.model_dump(),
        "system": getattr(params.systems, system).model_dump(),
        "track": track,
    }
    inputs = [FACES / DATASET_OF[track], FACES / EXTRA, LABELS / f"{track}.parquet", ENCODER, needs]
    inputs += declared_inputs(params, system, track, needs)
    with stage_run(f"finetune@{system}-{track}", logged, inputs) as run:
        seed_weights(settings)
        made = recipe(system, track, params, needs)
        folder = training_folder(f"finetune-{system}-{track}", "stages.finetune", logged, inputs)
        module, training = fit(f"finetune {system} {track}", made, settings, folder, run.log)
        with atomic_dir(SYSTEMS / track / system) as out:
            metrics = publish(out, made, module, training)
        drop_checkpoints(folder.parent)
        run.log({"validation_score": metrics["score"]})
        run.artifact(SYSTEMS / track / system)
        print(f"finetune {system} {track}: validation {metrics['score']:.3f}, baselines {metrics['baselines']}")


def main() -> None:
    """Read the system, the track and what else is needed from the command line."""
    if len(sys.argv) != 4:
        sys.exit("usage: python -m stages.finetune SYSTEM TRACK NEEDS")
    finetune(sys.argv[1], sys.argv[2], Path(sys.argv[3]), load_params())


if __name__ == "__main__":
    run_main(main)
