"""Fit and apply a track's ensemble: convex weights, smoothing and AU thresholds, all on the validation set.

Reads the predictions of the track's systems; writes `artifacts/ensemble/<track>/`: fitted.json, validation.parquet,
test.parquet, metrics.json (tuned score, inner-fold score, optimism, interval over videos, baselines). Run it with
`dvc repro ensemble@<track>` or `python -m stages.ensemble <track>`.
"""

import json
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import ensemble
from pipeline.abaw.metrics import bootstrap_interval
from pipeline.base.command import run_main
from pipeline.base.params import Params, load_params
from pipeline.base.shards import read_parquet
from pipeline.base.tracking import stage_run
from pipeline.errors import MienError
from pipeline.layout import ENSEMBLE, LABELS, SYSTEMS
from pipeline.publish import atomic_dir
from pipeline.scoring import (
    Tasks,
    baselines,
    decide,
    fill_missing,
    official_score,
    read_predictions,
    task_arrays,
    write_predictions,
)


def read_members(track: str, names: list[str], split: str) -> tuple[pa.Table, list[Tasks], np.ndarray]:
    """Axis, each member's filled scores, and the rows where any member saw a face."""
    strangers = {path.name for path in (SYSTEMS / track).glob("*") if path.is_dir()} - set(names)
    if strangers:
        raise MienError(
            f"{SYSTEMS / track}/{min(strangers)} is no member of this ensemble; delete it or add it to params.yaml"
        )
    members, present = [], np.zeros(0, bool)
    axis: pa.Table | None = None
    for name in names:
        axis, scores, found = read_predictions(SYSTEMS / track / name / f"{split}.parquet", track)
        present = found if not len(present) else present | found
        members.append(fill_missing(axis, scores, found))
    assert axis is not None
    return axis, members, present


def validation_labels(track: str) -> Tasks:
    """Labels on the validation axis."""
    table = read_parquet(LABELS / f"{track}.parquet")
    return task_arrays(track, table.filter(pc.equal(table["split"], "validation")))


def judge(
    track: str, axis: ensemble.Axis, members: list[Tasks], labels: Tasks, params: Params
) -> tuple[dict, dict[str, Any]]:
    """Fit on all of validation; measure the tuned score, the inner-fold score, and those of the members alone, each
    smoothed and thresholded as the ensemble is.
    """
    settings = params.ensemble
    fitted = ensemble.fit(track, axis, members, labels, settings)
    decided = decide(ensemble.predict(fitted, axis, members), ensemble.thresholds_of(fitted))
    tuned = official_score(track, labels, decided)
    inner_decided = ensemble.inner_fold_decisions(track, axis, members, labels, settings)
    inner = official_score(track, labels, inner_decided)
    names = settings.members[track]  # type: ignore[index]
    alone = {
        name: ensemble.inner_fold_decisions(track, axis, [member], labels, settings)
        for name, member in zip(names, members, strict=True)
    }
    singles = {name: official_score(track, labels, decided)["score"] for name, decided in alone.items()}
    best = max(singles, key=lambda name: singles[name])

    def resampled(decided: Tasks, rows: np.ndarray) -> float:
        return official_score(track, ensemble.take(labels, rows), ensemble.take(decided, rows))["score"]

    def gain(rows: np.ndarray) -> float:
        return resampled(inner_decided, rows) - resampled(alone[best], rows)

    draws = (axis.groups, settings.seed, settings.bootstrap_draws)
    metrics = {
        "score": inner["score"],
        "interval_95": list(bootstrap_interval(lambda rows: resampled(inner_decided, rows), *draws)),
        "tuned_score": tuned["score"],
        "optimism": tuned["score"] - inner["score"],
        "inner": inner,
        "tuned": tuned,
        "members": singles,
        "gain_over_best_member": {
            "member": best,
            "difference": inner["score"] - singles[best],
            "interval_95": list(bootstrap_interval(gain, *draws)) if len(names) > 1 else [0.0, 0.0],
        },
        "baselines": baselines(track, labels),
    }
    return fitted, metrics


def run_ensemble(track: str, params: Params) -> None:
    """Fit, predict validation and test, publish."""
    names = params.ensemble.members.get(track)  # type: ignore[call-overload]
    if not names:
        raise MienError(f"params.yaml: ensemble.members has no {track}", exit_code=2)
    inputs = [SYSTEMS / track, LABELS / f"{track}.parquet"]
    with stage_run(f"ensemble@{track}", {"ensemble": params.ensemble.model_dump(), "track": track}, inputs) as run:
        table, members, present = read_members(track, names, "validation")
        labels = validation_labels(track)
        fitted, metrics = judge(track, ensemble.Axis.of(table, track), members, labels, params)
        test_table, test_members, test_present = read_members(track, names, "test")
        with atomic_dir(ENSEMBLE / track) as out:
            (out / "fitted.json").write_text(json.dumps(ensemble.as_json(fitted, names), indent=1) + "\n")
            (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
            for name, axis, values, seen in (
                ("validation", table, members, present),
                ("test", test_table, test_members, test_present),
            ):
                scores = ensemble.predict(fitted, ensemble.Axis.of(axis, track), values)
                write_predictions(out / f"{name}.parquet", axis, scores, seen)
        run.log({name: metrics[name] for name in ("score", "tuned_score", "optimism")})
        run.artifact(ENSEMBLE / track)
        print(f"ensemble {track}: {metrics['score']:.3f} by inner folds, optimism {metrics['optimism']:+.3f}")


def main() -> None:
    """Read the track from the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m stages.ensemble TRACK")
    run_ensemble(sys.argv[1], load_params())


if __name__ == "__main__":
    run_main(main)
