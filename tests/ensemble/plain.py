"""The ensemble's fitting written plainly: every candidate judged by the official metric on the rows themselves."""

import numpy as np

from pipeline.abaw import metrics
from pipeline.abaw.gaps import smooth
from pipeline.abaw.tracks import TRACK_OF_TASK
from pipeline.ensemble.fit import Ensemble, Timeline, fold_of, take
from pipeline.ensemble.weights import best_weights
from pipeline.tables.fitted import Fitted, thresholds_of
from pipeline.tables.scores import Tasks, decide, official_score


def mix(timeline: Timeline, scores: list[np.ndarray], weights: tuple[float, ...], window: int) -> np.ndarray:
    values = np.sum([w * s for w, s in zip(weights, scores, strict=True) if w], axis=0)
    return smooth(timeline.videos, timeline.frames, values, window) if window and timeline.timed else values


def thresholds(labels: np.ndarray, values: np.ndarray, grid: list[float], prior: float) -> tuple[float, ...]:
    valid = (labels >= 0).all(axis=1)
    truth, ordered = labels[valid] == 1, sorted(grid, key=lambda t: (abs(t - 0.5), t))
    guesses = values[valid][None] >= np.array(ordered)[:, None, None]
    hits = (guesses & truth).sum(axis=1)
    own = np.array(ordered)[(2 * hits / np.maximum(guesses.sum(axis=1) + truth.sum(axis=0), 1)).argmax(axis=0)]
    if not prior:
        return tuple(own.tolist())
    common = max(ordered, key=lambda t: metrics.au_score(labels[valid], values[valid] >= t)["score"])
    active = truth.sum(axis=0)
    return tuple(((active * own + prior * common) / (active + prior)).tolist())


def fit_task(
    task: str, track: str, timeline: Timeline, scores: list[np.ndarray], labels: np.ndarray, params: Ensemble
) -> Fitted:
    metric = track if track == "lsd" else TRACK_OF_TASK[task]

    def limits(values: np.ndarray) -> tuple[float, ...]:
        return thresholds(labels, values, params.au_thresholds, params.au_prior_frames) if task == "aus" else ()

    def judge(weights: tuple[float, ...], window: int) -> float:
        values = mix(timeline, scores, weights, window)
        decided = decide({task: values}, np.array(limits(values)) if task == "aus" else 0.5)
        return official_score(metric, {task: labels}, decided)["score"]

    weights = best_weights(lambda w: judge(w, 0), len(scores), params.weight_step)
    window = max(sorted(params.half_windows_frames) if timeline.timed else [0], key=lambda h: judge(weights, h))
    values = mix(timeline, scores, weights, window)
    powers = params.powers_of(track) if task == "expression" else []
    return Fitted(weights, window, limits(values), prior(metric, labels, values, powers))


def prior(metric: str, labels: np.ndarray, values: np.ndarray, powers: list[float]) -> tuple[float, ...]:
    if not powers or not (labels >= 0).any():
        return ()
    mean = values[labels >= 0].mean(axis=0)

    def judge(power: float) -> float:
        return official_score(metric, {"expression": labels}, decide({"expression": values / mean**power}))["score"]

    power = max(sorted(powers), key=judge)
    return tuple((mean**power).tolist()) if power else ()


def fit_track(track: str, timeline: Timeline, members: list[Tasks], labels: Tasks, params: Ensemble) -> dict:
    return {task: fit_task(task, track, timeline, [m[task] for m in members], labels[task], params) for task in labels}


def inner_fold_decisions(
    track: str, timeline: Timeline, members: list[Tasks], labels: Tasks, params: Ensemble
) -> Tasks:
    folds = fold_of(timeline.groups, params.folds, params.seed)
    decided: Tasks = {}
    for number in np.unique(folds):
        inside, outside = np.flatnonzero(folds == number), np.flatnonzero(folds != number)
        train = outside if len(outside) else inside
        parts = [take(member, train) for member in members]
        fitted = fit_track(track, timeline.take(train), parts, take(labels, train), params)
        scores = {
            task: mix(timeline.take(inside), [m[task][inside] for m in members], how.weights, how.half_window_frames)
            / (how.class_prior or 1.0)
            for task, how in fitted.items()
        }
        for task, values in decide(scores, thresholds_of(fitted)).items():
            decided.setdefault(task, np.zeros((len(folds), *values.shape[1:]), values.dtype))[inside] = values
    return decided


def interval(track: str, timeline: Timeline, labels: Tasks, decided: Tasks, params: Ensemble) -> list[float]:
    """The 95 % interval over recordings, from the rows of each draw."""
    names = np.unique(timeline.groups)
    rows = [np.flatnonzero(timeline.groups == name) for name in names]
    generator, scores = np.random.default_rng(params.seed), []
    for _ in range(params.bootstrap_draws):
        drawn = np.concatenate([rows[i] for i in generator.integers(len(names), size=len(names))])
        scores.append(official_score(track, take(labels, drawn), take(decided, drawn))["score"])
    return np.quantile(scores, [0.025, 0.975]).tolist()
