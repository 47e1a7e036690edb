"""Phase two of the feedback system: the temporal encoder over the student's cached features.

Reads `artifacts/features/feedback/` and the labels of EXPR; writes `artifacts/systems/expr/feedback/`, as `finetune`
does for the others. Run it with `dvc repro finetune_temporal` or `python -m stages.finetune_temporal`. A killed run
goes on from its last checkpoint.
"""

from pipeline.base.command import run_main
from pipeline.base.params import load_params
from pipeline.base.shards import read_shards
from pipeline.base.tracking import stage_run
from pipeline.layout import FEATURES, LABELS, SYSTEMS, TEMPLATES
from pipeline.publish import atomic_dir
from pipeline.tracks import DATASET_OF
from pipeline.train.checkpoint import drop_checkpoints
from pipeline.train.fit import fit, publish, seed_weights
from pipeline.train.sequences import TRACK, SequenceData, temporal_recipe
from pipeline.train.work import training_folder

SYSTEM = "feedback"
OUT = SYSTEMS / TRACK / SYSTEM


def main() -> None:
    """Train, predict validation and test, publish."""
    params = load_params()
    settings, temporal = params.finetune, params.systems.feedback.temporal
    logged = {"finetune": settings.model_dump(), "temporal": temporal.model_dump()}
    inputs = [FEATURES / SYSTEM / DATASET_OF[TRACK], LABELS / f"{TRACK}.parquet", TEMPLATES / f"{TRACK}.parquet"]
    with stage_run("finetune_temporal", logged, inputs) as run:
        seed_weights(settings)
        made = temporal_recipe(SequenceData(temporal, read_shards(inputs[0])), params)
        folder = training_folder("finetune_temporal", "stages.finetune_temporal", logged, inputs)
        module, training = fit("finetune_temporal", made, settings, folder, run.log)
        with atomic_dir(OUT) as out:
            metrics = publish(out, made, module, training)
        drop_checkpoints(folder.parent)
        run.log({"validation_score": metrics["score"]})
        run.artifact(OUT)
        print(f"finetune_temporal: validation {metrics['score']:.3f}, baselines {metrics['baselines']}")


if __name__ == "__main__":
    run_main(main)
