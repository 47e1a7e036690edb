"""Fit and apply a track's ensemble: convex weights, smoothing and AU thresholds, all on the validation set.

Reads the predictions of the track's systems; writes `artifacts/ensemble/<track>/`: fitted.json, validation.parquet,
test.parquet, metrics.json (tuned score, inner-fold score, optimism, interval over videos, baselines). Run it with
`dvc repro ensemble@<track>` or `python -m stages.ensemble <track>`.
"""

import sys

from pipeline.abaw.tracks import trained_track
from pipeline.core.errors import MienError
from pipeline.core.files import atomic_dir, write_json
from pipeline.core.graph import Graph
from pipeline.core.params import read_section
from pipeline.core.paths import ENSEMBLE
from pipeline.ensemble.fit import Ensemble, Timeline, combined_tasks
from pipeline.ensemble.judge import judge
from pipeline.ensemble.members import read_members, validation_labels
from pipeline.run.command import run_main, stage_argument
from pipeline.run.tracking import stage_run
from pipeline.tables.fitted import as_json
from pipeline.tables.scores import write_predictions


def run_ensemble(name: str) -> None:
    """Fit, predict validation and test, publish."""
    settings, track = read_section("ensemble", Ensemble), trained_track(name).name
    trainings = settings.trainings_of(track)
    names = list(trainings)
    if not names:
        raise MienError(f"params.yaml: ensemble.members has no {track}", exit_code=2)
    with stage_run(f"ensemble@{track}", {"ensemble": settings.model_dump(), "track": track}) as run:
        # a training that is no member is a network for another system, or one that was left out on trial
        others = {line.member for line in read_section("graph", Graph).trainings.values() if line.track == track}
        table, members, present = read_members(track, trainings, "validation", others)
        labels = validation_labels(track)
        fitted, metrics = judge(track, Timeline.of(table, track), members, labels, settings)
        test_table, test_members, test_present = read_members(track, trainings, "test", others)
        with atomic_dir(ENSEMBLE / track) as out:
            write_json(out / "fitted.json", as_json(fitted, names))
            write_json(out / "metrics.json", metrics)
            for split, axis, values, seen in (
                ("validation", table, members, present),
                ("test", test_table, test_members, test_present),
            ):
                scores = combined_tasks(fitted, Timeline.of(axis, track), values)
                write_predictions(out / f"{split}.parquet", axis, scores, seen)
        run.log({name: metrics[name] for name in ("score", "tuned_score", "optimism")})
        run.artifact(ENSEMBLE / track)
        print(f"ensemble {track}: {metrics['score']:.3f} by inner folds, optimism {metrics['optimism']:+.3f}")


if __name__ == "__main__":
    run_main(lambda: run_ensemble(stage_argument(sys.argv, "TRACK")))
