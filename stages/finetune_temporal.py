"""Phase two of the feedback system: the temporal encoder over the student's cached features.

Reads `artifacts/features/feedback/` and the labels of EXPR; writes `artifacts/systems/expr/feedback/`, as `finetune`
does for the others. Run it with `dvc repro finetune_temporal` or `python -m stages.finetune_temporal`. A killed run
goes on from its last checkpoint.
"""

import json
from pathlib import Path

from models.temporal import TemporalEncoder
from pipeline.base.command import run_main
from pipeline.base.curves import write_curve
from pipeline.base.params import load_params
from pipeline.base.shards import read_shards
from pipeline.base.tracking import stage_run
from pipeline.layout import FEATURES, LABELS, SYSTEMS, TEMPLATES
from pipeline.publish import atomic_dir
from pipeline.scoring import baselines, write_predictions
from pipeline.tracks import DATASET_OF
from pipeline.train.checkpoint import drop_checkpoints, save_tensors
from pipeline.train.fit import judge, seed_weights
from pipeline.train.loop import Training
from pipeline.train.sequences import TRACK, SequenceData, fit_temporal
from pipeline.train.work import training_folder

SYSTEM = "feedback"
OUT = SYSTEMS / TRACK / SYSTEM


def publish(out: Path, data: SequenceData, system: TemporalEncoder, training: Training) -> dict:
    """Write weights, predictions, metrics and curve; returns the metrics."""
    for name, axis in {"validation": data.validation, "test": data.test}.items():
        scores = data.predict(system, axis)
        write_predictions(out / f"{name}.parquet", axis.table, scores, axis.present)
        if name == "validation":
            metrics = judge(TRACK, axis, data.validation_labels, scores)
    metrics |= {"baselines": baselines(TRACK, data.validation_labels)}
    save_tensors(out / "weights.safetensors", system.state_dict())
    write_curve(out / "curve.csv", training.history)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    return metrics


def main() -> None:
    """Train, predict validation and test, publish."""
    params = load_params()
    settings, temporal = params.finetune, params.systems.feedback.temporal
    logged = {"finetune": settings.model_dump(), "temporal": temporal.model_dump()}
    inputs = [FEATURES / SYSTEM / DATASET_OF[TRACK], LABELS / f"{TRACK}.parquet", TEMPLATES / f"{TRACK}.parquet"]
    with stage_run("finetune_temporal", logged, inputs) as run:
        data = SequenceData(temporal, read_shards(inputs[0]))
        seed_weights(settings)
        folder = training_folder("finetune_temporal", "stages.finetune_temporal", logged, inputs)
        system, training = fit_temporal(data, params, folder, run.log)
        with atomic_dir(OUT) as out:
            metrics = publish(out, data, system, training)
        drop_checkpoints(folder.parent)
        run.log({"validation_score": metrics["score"]})
        run.artifact(OUT)
        print(f"finetune_temporal: validation {metrics['score']:.3f}, baselines {metrics['baselines']}")


if __name__ == "__main__":
    run_main(main)
