"""What an ensemble is worth: the members' predictions read, everything fitted and measured by inner folds."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.abaw.metrics import bootstrap_interval
from pipeline.core.errors import MienError
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import LABELS, SYSTEMS, TEMPLATES
from pipeline.ensemble.fit import Ensemble, Timeline, combined_tasks, fit_track, inner_fold_decisions, take
from pipeline.tables.fitted import Fitted, thresholds_of
from pipeline.tables.join import align
from pipeline.tables.scores import (
    KEYS,
    Tasks,
    baselines,
    decide,
    fill_missing,
    official_score,
    read_predictions,
    task_arrays,
)


def official_axis(track: str, split: str) -> pa.Table:
    """The rows of the labels (`validation`) or of the template (`test`), in their order: the axis of everything."""
    if split == "test":
        return read_parquet(TEMPLATES / f"{track}.parquet")
    table = read_parquet(LABELS / f"{track}.parquet")
    return table.filter(pc.equal(table["split"], split))


def read_members(track: str, names: list[str], split: str) -> tuple[pa.Table, list[Tasks], np.ndarray]:
    """Axis, each member's filled scores on it, and the rows where any member saw a face.

    Members are joined by key, whatever the order of their rows; one that has other rows is refused.
    """
    strangers = {path.name for path in (SYSTEMS / track).glob("*") if path.is_dir()} - set(names)
    if strangers:
        raise MienError(
            f"{SYSTEMS / track}/{min(strangers)} is no member of this ensemble; delete it or add it to params.yaml"
        )
    axis = official_axis(track, split).select(list(KEYS))
    members, present = [], np.zeros(len(axis), bool)
    for name in names:
        path = SYSTEMS / track / name / f"{split}.parquet"
        table, scores, found = read_predictions(path, track)
        rows = align(axis, table, str(path))
        present |= found[rows]
        members.append(fill_missing(axis, take(scores, rows), found[rows]))
    return axis, members, present


def validation_labels(track: str) -> Tasks:
    """Labels on the validation axis, as `read_members` gives it."""
    return task_arrays(track, official_axis(track, "validation"))


def judge(
    track: str, timeline: Timeline, members: list[Tasks], labels: Tasks, settings: Ensemble
) -> tuple[dict[str, Fitted], dict[str, Any]]:
    """Fit on all of validation; measure the tuned score, the inner-fold score, and those of the members alone, each
    smoothed and thresholded as the ensemble is.
    """
    fitted = fit_track(track, timeline, members, labels, settings)
    decided = decide(combined_tasks(fitted, timeline, members), thresholds_of(fitted))
    tuned = official_score(track, labels, decided)
    inner_decided = inner_fold_decisions(track, timeline, members, labels, settings)
    inner = official_score(track, labels, inner_decided)
    names = settings.members[track]  # type: ignore[index]
    alone = {
        name: inner_fold_decisions(track, timeline, [member], labels, settings)
        for name, member in zip(names, members, strict=True)
    }
    singles = {name: official_score(track, labels, decided)["score"] for name, decided in alone.items()}
    best = max(singles, key=lambda name: singles[name])

    def resampled(decided: Tasks, rows: np.ndarray) -> float:
        return official_score(track, take(labels, rows), take(decided, rows))["score"]

    def gain(rows: np.ndarray) -> float:
        return resampled(inner_decided, rows) - resampled(alone[best], rows)

    draws = (timeline.groups, settings.seed, settings.bootstrap_draws)
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
