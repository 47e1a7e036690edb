"""What an ensemble is worth: everything fitted, and measured by inner folds beside its members alone."""

from dataclasses import replace
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

    A mix that is not above its best member by inner folds is not submitted: that member stands alone (`chosen`), and
    `mixed` is what the mix scored.
    """
    mixed = inner_fold_decisions(track, timeline, members, labels, settings)
    mix = official_score(track, labels, mixed)["score"]
    names = list(settings.trainings_of(track))
    alone = {
        name: inner_fold_decisions(track, timeline, [member], labels, settings)
        for name, member in zip(names, members, strict=True)
    }
    singles = {name: official_score(track, labels, decided)["score"] for name, decided in alone.items()}
    best = max(singles, key=lambda name: singles[name])
    single = len(names) == 1 or mix <= singles[best]
    used = [names.index(best)] if single else list(range(len(names)))
    fitted = _fit_some(track, timeline, members, labels, settings, used)
    tuned = official_score(track, labels, decide(combined_tasks(fitted, timeline, members), thresholds_of(fitted)))
    inner_decided = alone[best] if single else mixed
    inner = official_score(track, labels, inner_decided)

    def resampled(decided: Tasks, rows: np.ndarray) -> float:
        return official_score(track, take(labels, rows), take(decided, rows))["score"]

    def gain(rows: np.ndarray) -> float:
        return resampled(mixed, rows) - resampled(alone[best], rows)

    draws = (timeline.groups, settings.seed, settings.bootstrap_draws)
    metrics = {
        "score": inner["score"],
        "interval_95": list(bootstrap_interval(lambda rows: resampled(inner_decided, rows), *draws)),
        "tuned_score": tuned["score"],
        "optimism": tuned["score"] - inner["score"],
        "inner": inner,
        "tuned": tuned,
        "members": singles,
        "chosen": best if single else "mix",
        "mixed": mix,
        "gain_over_best_member": {
            "member": best,
            "difference": mix - singles[best],
            "interval_95": list(bootstrap_interval(gain, *draws)) if len(names) > 1 else [0.0, 0.0],
        },
        "baselines": baselines(track, labels),
    }
    return fitted, metrics


def _fit_some(
    track: str, timeline: Timeline, members: list[Tasks], labels: Tasks, settings: Ensemble, used: list[int]
) -> dict[str, Fitted]:
    """What is fitted with some of the members, the others at weight zero."""
    fitted = fit_track(track, timeline, [members[number] for number in used], labels, settings)

    def among_all(weights: tuple[float, ...]) -> tuple[float, ...]:
        given = dict(zip(used, weights, strict=True))
        return tuple(given.get(number, 0.0) for number in range(len(members)))

    return {task: replace(how, weights=among_all(how.weights)) for task, how in fitted.items()}
