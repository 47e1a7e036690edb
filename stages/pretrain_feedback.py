"""Phase one of the feedback system: a teacher labels the pool, a student learns from it, its gain corrects the teacher.

Reads the faces and labels of EXPR, the unlabelled faces and the pretrained encoder; writes `artifacts/feedback/`:
student.safetensors, curve.csv, metrics.json (frame by frame). Run it with `dvc repro pretrain_feedback` or `python -m
stages.pretrain_feedback`. A killed run goes on from its last checkpoint.
"""

import json
from typing import cast

from models.feedback import Feedback
from pipeline.base.command import run_main
from pipeline.base.curves import write_curve
from pipeline.base.params import load_params
from pipeline.base.tracking import stage_run
from pipeline.layout import ENCODER, EXTRA, FACES, FEEDBACK, LABELS
from pipeline.publish import atomic_dir
from pipeline.tracks import DATASET_OF
from pipeline.train.checkpoint import drop_checkpoints, save_tensors
from pipeline.train.fit import fit, seed_weights, validation_score
from pipeline.train.recipes import recipe
from pipeline.train.work import training_folder


def main() -> None:
    """Train teacher and student, publish the student."""
    params = load_params()
    settings = params.finetune
    logged = {
        "finetune": settings.model_dump(),
        "vit": params.vit.model_dump(),
        "spatial": params.systems.feedback.spatial.model_dump(),
    }
    inputs = [FACES / DATASET_OF["expr"], FACES / EXTRA, LABELS / "expr.parquet", ENCODER]
    with stage_run("pretrain_feedback", logged, inputs) as run:
        seed_weights(settings)
        made = recipe("feedback", "expr", params)
        folder = training_folder("pretrain_feedback", "stages.pretrain_feedback", logged, inputs)
        system, training = fit("pretrain_feedback", made, settings, folder, run.log)
        metrics = validation_score(made, system)
        with atomic_dir(FEEDBACK) as out:
            save_tensors(out / "student.safetensors", cast(Feedback, system).student.state_dict())
            write_curve(out / "curve.csv", training.history)
            (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
        drop_checkpoints(folder.parent)
        run.log({"validation_score": metrics["score"]})
        run.artifact(FEEDBACK)
        print(f"pretrain_feedback: the student's validation score, frame by frame, is {metrics['score']:.3f}")


if __name__ == "__main__":
    run_main(main)
