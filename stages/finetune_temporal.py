"""Phase two of the feedback system: the temporal encoder over the student's cached features.

Reads `artifacts/features/<student>/` and the labels of the track; writes `artifacts/systems/<track>/feedback/`, as
`finetune` does for the others. Run it with `dvc repro finetune_temporal@<track>` or `python -m stages.finetune_temporal
<track>`. A killed run goes on from its last checkpoint.
"""

import sys

from pipeline.abaw.tracks import trained_track
from pipeline.core.deps import stage_deps
from pipeline.core.files import atomic_dir
from pipeline.core.graph import FeedbackTraining
from pipeline.core.params import read_section
from pipeline.core.paths import FEATURES, SYSTEMS
from pipeline.core.workstore import training_folder
from pipeline.run.command import run_main, stage_argument
from pipeline.run.ranks import on_ranks
from pipeline.run.tracking import stage_run
from pipeline.systems.temporal import SequenceData, Temporal, temporal_recipe
from pipeline.tables.features import Features
from pipeline.train.budget import stretched
from pipeline.train.checkpoint import keep_finished
from pipeline.train.data import training_rows
from pipeline.train.fit import Finetune, fit, seed_weights, verdict, write_results
from pipeline.train.inputs import training_inputs

MEMBER = "feedback"


def finetune_temporal(track: str) -> None:
    """Train, predict validation and test, publish."""
    line = read_section(f"graph.feedback.{track}", FeedbackTraining)
    settings, temporal = read_section("finetune", Finetune), read_section("systems.feedback.temporal", Temporal)
    temporal = stretched(temporal, temporal.train.optimise, training_rows(track) // temporal.window_frames)
    stage = f"finetune_temporal@{track}"
    logged = {"finetune": settings.model_dump(), "temporal": temporal.model_dump(), "features": line.features}
    with stage_run(stage, logged) as run:
        features = Features(FEATURES / line.features / trained_track(track).dataset)
        seed_weights(settings)
        made = temporal_recipe(SequenceData(track, temporal, features))
        folder = training_folder(stage, logged, training_inputs(stage_deps(stage), trained_track(track)))
        module, loop = fit(stage, made, settings, folder, run.log)
        out = SYSTEMS / track / MEMBER
        with atomic_dir(out) as target:
            metrics = write_results(target, made, module, loop)
        keep_finished(folder)
        run.log({"validation_score": metrics["score"]})
        run.artifact(out)
        print(f"{stage}: {verdict(metrics)}")


if __name__ == "__main__":
    run_main(lambda: on_ranks(lambda: finetune_temporal(stage_argument(sys.argv, "TRACK"))))
