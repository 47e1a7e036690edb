"""What is done to a trained system's scores afterwards: rules fitted on validation and applied to the test list.

Smoothing, AU thresholds and class priors are those of the ensemble stage (`pipeline/ensemble/fit.py`), a member by
itself. Two are tried here alone: a smoothing window for each class, unit or dimension, and a gate, by which a model of
single frames answers in the place of a temporal one where it is sure.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from pipeline.abaw.gaps import smooth
from pipeline.abaw.tracks import TRACK_OF_TASK
from pipeline.ensemble.fit import Ensemble, Timeline, combined_tasks, fit_track
from pipeline.tables.fitted import thresholds_of
from pipeline.tables.scores import Tasks, decide, official_score

POWERS = [0.0, 0.25, 0.5, 0.75, 1.0]
BOUNDS = (2.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)  # of a confidence; by the first nobody is sure
SMOOTHED, BY_COLUMN, BY_PRIOR = "smoothed", "a window for each column", "divided by the prior"
GATED = "gated"
ONE_HALF, OWN, SHRUNK = "AUs at one half", "own AU thresholds", "AU thresholds shrunk"
Side = tuple[pa.Table, Tasks]  # an axis and its scores, without gaps


def fitted_answer(rule: str, track: str, judged: Side, test: Side, labels: Tasks, settings: Ensemble) -> Tasks:
    """Decisions on the test list under a rule that was fitted on the judged rows of validation."""
    if rule == ONE_HALF:
        return decide(test[1])
    plain = {"half_windows_frames": [0]} if rule != SMOOTHED else {}
    shrunk = {"au_prior_frames": 0.0} if rule != SHRUNK else {}
    powers = {"class_prior_powers": {track: POWERS} if rule == BY_PRIOR else {}}
    settings = settings.model_copy(update=powers)
    if rule == BY_COLUMN:
        judged, test = windows_by_column(track, judged, test, labels, settings)
    settings = settings.model_copy(update=plain | shrunk)
    fitted = fit_track(track, Timeline.of(judged[0], track), [judged[1]], labels, settings)
    return decide(combined_tasks(fitted, Timeline.of(test[0], track), [test[1]]), thresholds_of(fitted))


def windows_by_column(track: str, judged: Side, test: Side, labels: Tasks, settings: Ensemble) -> tuple[Side, Side]:
    """Both sides smoothed, each column over its own window: the best one after another, from the common one."""
    timelines = [Timeline.of(axis, track) for axis, _ in (judged, test)]
    common = fit_track(track, timelines[0], [judged[1]], labels, settings)
    sides: list[Tasks] = [{}, {}]
    for task, values in judged[1].items():
        windows = [common[task].half_window_frames] * values.shape[1]
        score = _scorer(task, track, timelines[0], values, labels, settings)
        for column in range(len(windows)):
            tried = {h: score([*windows[:column], h, *windows[column + 1 :]]) for h in settings.half_windows_frames}
            windows[column] = max(tried, key=lambda h: (tried[h], h == windows[column]))
        for side, timeline, scores in zip(sides, timelines, (judged[1], test[1]), strict=True):
            side[task] = _smoothed(timeline, scores[task], windows)
    return (judged[0], sides[0]), (test[0], sides[1])


def _smoothed(timeline: Timeline, values: np.ndarray, windows: list[int]) -> np.ndarray:
    columns = [smooth(timeline.videos, timeline.frames, values[:, i], h) for i, h in enumerate(windows)]
    return np.stack(columns, axis=1)


def _scorer(
    task: str, track: str, timeline: Timeline, values: np.ndarray, labels: Tasks, settings: Ensemble
) -> Callable[[list[int]], float]:
    metric = track if track == "lsd" else TRACK_OF_TASK[task]
    still = settings.model_copy(update={"half_windows_frames": [0], "au_prior_frames": 0.0})

    def score(windows: list[int]) -> float:
        scores = {task: _smoothed(timeline, values, windows)}
        fitted = fit_track(track, timeline, [scores], {task: labels[task]}, still)
        return official_score(metric, {task: labels[task]}, decide(scores, thresholds_of(fitted)))["score"]

    return score


def gated(track: str, scores: Mapping[str, Tasks], gate: Mapping[str, Tasks], labels: Tasks) -> dict[str, Tasks]:
    """Scores by side, the gate's expressions wherever it is sure enough; the bound suits the judged rows best."""

    def answer(side: str, bound: float) -> Tasks:
        sure = gate[side]["expression"]
        expression = np.where(sure.max(axis=1, keepdims=True) >= bound, sure, scores[side]["expression"])
        return dict(scores[side]) | {"expression": expression}

    def score(bound: float) -> float:
        return official_score(track, labels, decide(answer("judged", bound)))["score"]

    bound = max(BOUNDS, key=score)
    return {side: answer(side, bound) for side in scores}
