"""Phase one of the feedback system: a teacher labels the pool, a student learns from it, its gain corrects the teacher.

Reads the faces and labels of the track and the unlabelled faces; writes `artifacts/feedback/<track>/`:
student.safetensors, curve.csv, metrics.json (frame by frame). Run it with `dvc repro pretrain_feedback@<track>` or
`python -m stages.pretrain_feedback <track>`. A killed run goes on from its last checkpoint.
"""

import sys
from typing import cast

from models.feedback import Feedback
from pipeline.abaw.tracks import trained_track
from pipeline.backbones.encoder import Vit
from pipeline.core.deps import stage_deps
from pipeline.core.files import atomic_dir, write_json
from pipeline.core.graph import FeedbackTraining, Needs
from pipeline.core.params import read_section
from pipeline.core.paths import FEEDBACK
from pipeline.core.tensors import save_tensors
from pipeline.core.workstore import training_folder
from pipeline.run.command import run_main, stage_argument
from pipeline.run.ranks import on_ranks
from pipeline.run.tracking import stage_run
from pipeline.systems.feedback import STUDENT, Spatial, pair_recipe
from pipeline.tables.curves import write_curve
from pipeline.train.budget import stretched
from pipeline.train.checkpoint import keep_finished
from pipeline.train.data import training_rows
from pipeline.train.fit import Finetune, Job, best_scores, fit, seed_weights, validation_score
from pipeline.train.inputs import training_inputs


def pretrain_feedback(track: str) -> None:
    """Train teacher and student, publish the student."""
    settings, vit = read_section("finetune", Finetune), read_section("vit", Vit)
    spatial = read_section("systems.feedback.spatial", Spatial)
    spatial = stretched(spatial, spatial.train.optimise, training_rows(track))
    stage = f"pretrain_feedback@{track}"
    logged = {"finetune": settings.model_dump(), "vit": vit.model_dump(), "spatial": spatial.model_dump()}
    with stage_run(stage, logged) as run:
        line = read_section(f"graph.feedback.{track}", FeedbackTraining)
        needs = Needs.of(f"graph.feedback.{track}", line.needs)
        seed_weights(settings)
        made = pair_recipe(
            spatial, Job(trained_track(track), vit, needs, settings.evaluate_batch, mirror=settings.mirror)
        )
        folder = training_folder(stage, logged, training_inputs(stage_deps(stage), trained_track(track)))
        system, loop = fit(stage, made, settings, folder, run.log)
        metrics = validation_score(made, best_scores(made, system))
        metrics |= {"without": list(made.without)} if made.without else {}
        with atomic_dir(FEEDBACK / track) as out:
            save_tensors(out / STUDENT, cast(Feedback, system).student.state_dict())
            write_curve(out / "curve.csv", loop.history)
            write_json(out / "metrics.json", metrics)
        keep_finished(folder)
        run.log({"validation_score": metrics["score"]})
        run.artifact(FEEDBACK / track)
        print(f"{stage}: the student's validation score, frame by frame, is {metrics['score']:.3f}")


if __name__ == "__main__":
    run_main(lambda: on_ranks(lambda: pretrain_feedback(stage_argument(sys.argv, "TRACK"))))
