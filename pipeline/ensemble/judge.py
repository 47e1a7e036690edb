"""What an ensemble is worth: everything fitted, and measured by inner folds beside its members alone."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.abaw.resample import bootstrap_interval, group_codes
from pipeline.ensemble.fit import Ensemble, Timeline, TrackFit, combined_tasks, fold_of
from pipeline.tables.fitted import Fitted, thresholds_of
from pipeline.tables.scores import Tasks, baselines, decide, official_part_scores, official_score


class Resampled:
    """Scores of a track's decisions, with intervals over its recordings."""

    def __init__(self, track: str, timeline: Timeline, labels: Tasks, settings: Ensemble) -> None:
        self._track, self._labels = track, labels
        groups, self._codes = group_codes(timeline.groups)
        self._groups = len(groups)
        self._draws = (len(groups), settings.seed, settings.bootstrap_draws)

    def score(self, decided: Tasks) -> dict[str, Any]:
        """The official metric and its parts."""
        return official_score(self._track, self._labels, decided)

    def interval(self, decided: Tasks) -> list[float]:
        """95 % of the official metric over draws of recordings."""
        return list(bootstrap_interval(self._of_draws(decided), *self._draws))

    def gain(self, one: Tasks, other: Tasks) -> dict[str, Any]:
        """How much more `one` scores, with the interval of the difference, paired by recording."""
        first, second = self._of_draws(one), self._of_draws(other)
        return {
            "difference": self.score(one)["score"] - self.score(other)["score"],
            "interval_95": list(bootstrap_interval(lambda times: first(times) - second(times), *self._draws)),
        }

    def _of_draws(self, decided: Tasks) -> Callable[[np.ndarray], np.ndarray]:
        return official_part_scores(self._track, self._labels, decided, self._codes, self._groups)


def judge(
    track: str, timeline: Timeline, members: list[Tasks], labels: Tasks, settings: Ensemble
) -> tuple[dict[str, Fitted], dict[str, Any]]:
    """Fit on all of validation; measure the tuned score, the inner-fold score, those of the members alone, each
    smoothed and thresholded as the ensemble is, and what each of them adds: the mix less the mix of the others.

    A mix that is not above its best member by inner folds is not submitted: that member stands alone (`chosen`), and
    `mixed` is what the mix scored.
    """
    fits = TrackFit(track, timeline, members, labels, settings, fold_of(timeline.groups, settings.folds, settings.seed))
    names, by = list(settings.trainings_of(track)), Resampled(track, timeline, labels, settings)
    every = list(range(len(names)))
    mixed = fits.inner_decisions(every)
    mix = by.score(mixed)["score"]
    alone = {name: fits.inner_decisions([number]) for number, name in enumerate(names)}
    singles = {name: by.score(decided)["score"] for name, decided in alone.items()}
    best = max(singles, key=lambda name: singles[name])
    single = len(names) == 1 or mix <= singles[best]
    fitted = fits.fit([names.index(best)] if single else every)
    tuned = by.score(decide(combined_tasks(fitted, timeline, members), thresholds_of(fitted)))
    submitted = alone[best] if single else mixed
    inner = by.score(submitted)
    metrics = {
        "score": inner["score"],
        "interval_95": by.interval(submitted),
        "tuned_score": tuned["score"],
        "optimism": tuned["score"] - inner["score"],
        "inner": inner,
        "tuned": tuned,
        "members": singles,
        "adds": {
            name: by.gain(mixed, fits.inner_decisions([other for other in every if other != number]))
            for number, name in enumerate(names if len(names) > 1 else [])
        },
        "chosen": best if single else "mix",
        "mixed": mix,
        "gain_over_best_member": {"member": best, **by.gain(mixed, alone[best])},
        "baselines": baselines(track, labels),
    }
    return fitted, metrics
