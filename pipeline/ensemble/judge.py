"""What an ensemble is worth: everything fitted, and measured by inner folds beside its members alone."""

from typing import Any

import numpy as np

from pipeline.abaw.metrics import bootstrap_interval
from pipeline.ensemble.fit import Ensemble, Timeline, combined_tasks, fit_track, inner_fold_decisions, take
from pipeline.tables.fitted import Fitted, thresholds_of
from pipeline.tables.scores import Tasks, baselines, decide, official_score


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
    names = list(settings.trainings_of(track))
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
