"""Ensembling and post-processing, fitted on validation, with the price of that fitting measured.

Fitted for each task: convex weights of the members (mean of scores), a smoothing half-window in frames (within a
video, by frame distance), a threshold for each AU. A mix has to beat the best member on folds that neither was fitted
on; else that member stands alone. The optimism is the tuned score minus the score of inner folds:
for each group of base videos everything is fitted on the others and applied to it, and the metric is taken once over
all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from pipeline.abaw.folds import grouped_folds
from pipeline.abaw.gaps import smooth
from pipeline.abaw.tracks import TRACK_OF_TASK, TrackName
from pipeline.core.errors import MienError
from pipeline.core.params import Section
from pipeline.ensemble.weights import Weights, best_weights, convex_weights
from pipeline.tables.fitted import THRESHOLD, Fitted, thresholds_of
from pipeline.tables.scores import Tasks, decide, official_score, recordings, shrunk_thresholds

# A member is a training by its name, or a name of its own for the mean of several: {vit: [vit-0, vit-1, vit-2]}.
Member = str | Annotated[dict[str, Annotated[list[str], Field(min_length=1)]], Field(min_length=1, max_length=1)]


class Ensemble(Section):
    """What is fitted on the validation set, and how its optimism is measured.

    `au_prior_frames`: an AU's own threshold counts as much as the common one of all AUs when it is active in so many
    frames (0: each AU has its own).
    """

    seed: int
    folds: int = Field(ge=2)
    weight_step: float = Field(gt=0, le=1)
    half_windows_frames: list[int] = Field(min_length=1)
    au_thresholds: list[float] = Field(min_length=1)
    au_prior_frames: float = Field(default=0.0, ge=0)
    bootstrap_draws: int = Field(ge=0)
    members: dict[TrackName, list[Member]]

    @model_validator(mode="after")
    def _each_name_once(self) -> "Ensemble":
        for track, members in self.members.items():
            if len(self.trainings_of(track)) < len(members):
                raise ValueError(f"members.{track} names a member twice")
        return self

    def trainings_of(self, track: str) -> dict[str, list[str]]:
        """Each member of a track, and the trainings whose mean it is; empty where the track has none."""
        members = self.members.get(track, [])  # type: ignore[call-overload]
        pairs = [{member: [member]} if isinstance(member, str) else member for member in members]
        return {name: trainings for pair in pairs for name, trainings in pair.items()}


@dataclass
class Timeline:
    """When each row was: its video, the group of its recording, its frame number."""

    videos: np.ndarray
    frames: np.ndarray
    groups: np.ndarray
    timed: bool = True

    @classmethod
    def of(cls, table: pa.Table, track: str) -> "Timeline":
        """LSD pictures have no time and no recordings: each is its own group and is never smoothed."""
        videos, frames = table["video"].to_numpy(), table["frame"].to_numpy()
        return cls(videos, frames, recordings(table, track), timed=track != "lsd")

    def take(self, rows: np.ndarray) -> "Timeline":
        """The timeline of some rows."""
        return Timeline(self.videos[rows], self.frames[rows], self.groups[rows], self.timed)


def combine(scores: list[np.ndarray], weights: tuple[float, ...]) -> np.ndarray:
    """Weighted mean of members' scores (rows, columns)."""
    return np.sum([w * s for w, s in zip(weights, scores, strict=True) if w], axis=0)


def _smoothed(timeline: Timeline, values: np.ndarray, half_window: int) -> np.ndarray:
    return smooth(timeline.videos, timeline.frames, values, half_window) if half_window and timeline.timed else values


def combined(fitted: Fitted, timeline: Timeline, scores: list[np.ndarray]) -> np.ndarray:
    """Combined and smoothed scores of a task."""
    return _smoothed(timeline, combine(scores, fitted.weights), fitted.half_window_frames)


@dataclass
class _Task:
    """One task of a track: its members' scores, its labels, and how answers to it are judged."""

    task: str
    metric: str
    timeline: Timeline
    scores: list[np.ndarray]
    labels: np.ndarray
    params: Ensemble

    def take(self, rows: np.ndarray) -> "_Task":
        """The same of some rows."""
        scores = [values[rows] for values in self.scores]
        return replace(self, timeline=self.timeline.take(rows), scores=scores, labels=self.labels[rows])

    def values(self, weights: Weights, half_window: int = 0) -> np.ndarray:
        """Combined and smoothed scores."""
        return _smoothed(self.timeline, combine(self.scores, weights), half_window)

    def thresholds(self, values: np.ndarray) -> tuple[float, ...]:
        """AU thresholds for these scores; none for another task."""
        grid, prior = self.params.au_thresholds, self.params.au_prior_frames
        return shrunk_thresholds(self.labels, values, grid, prior) if self.task == "aus" else ()

    def score(self, values: np.ndarray, thresholds: tuple[float, ...] | None = None) -> float:
        """The official metric, AUs at given thresholds or at those that suit these scores."""
        limits = self.thresholds(values) if thresholds is None else thresholds
        decided = decide({self.task: values}, np.array(limits) if limits else THRESHOLD)
        return official_score(self.metric, {self.task: self.labels}, decided)["score"]

    def judge(self, weights: Weights) -> float:
        """What a mix scores where it is fitted."""
        return self.score(self.values(weights))


def fit_task(
    task: str, track: str, timeline: Timeline, scores: list[np.ndarray], labels: np.ndarray, params: Ensemble
) -> Fitted:
    """Weights, then the half-window under them, then AU thresholds, each the best in the official metric."""
    data = _Task(task, track if track == "lsd" else TRACK_OF_TASK[task], timeline, scores, labels, params)
    weights = fit_weights(data)
    windows = sorted(params.half_windows_frames) if timeline.timed else [0]
    half_window = max(windows, key=lambda h: data.score(data.values(weights, h))) if len(windows) > 1 else windows[0]
    return Fitted(weights, half_window, data.thresholds(data.values(weights, half_window)))


def fit_weights(data: _Task) -> Weights:
    """The best mix of members where mixing pays on recordings that it was not fitted on, else the best member alone.

    The mix is fitted on the other folds and so is the choice of a member; what each then scores over all folds decides,
    and a tie is the member's. One recording alone shows nothing.
    """
    members, step = len(data.scores), data.params.weight_step
    mix = best_weights(data.judge, members, step)
    if max(mix) == 1:
        return mix
    folds = fold_of(data.timeline.groups, data.params.folds, data.params.seed)
    if len(np.unique(folds)) > 1:
        mixed = _over_folds(data, folds, lambda part: best_weights(part.judge, members, step))
        if mixed > _over_folds(data, folds, best_member):
            return mix
    return best_member(data)


def best_member(data: _Task) -> Weights:
    """All weight on the member that scores best alone."""
    return max(convex_weights(len(data.scores), 1.0), key=data.judge)


def _over_folds(data: _Task, folds: np.ndarray, choose: Callable[[_Task], Weights]) -> float:
    """The score over all rows of weights that were each chosen without a row's fold."""
    decided = np.zeros((len(folds), data.scores[0].shape[1]))
    for number in np.unique(folds):
        outside, inside = data.take(np.flatnonzero(folds != number)), np.flatnonzero(folds == number)
        weights = choose(outside)
        values, limits = data.take(inside).values(weights), outside.thresholds(outside.values(weights))
        decided[inside] = values if data.task != "aus" else values >= np.array(limits)
    return data.score(decided, (THRESHOLD,) * decided.shape[1] if data.task == "aus" else None)


def fit_track(
    track: str, timeline: Timeline, members: list[Tasks], labels: Tasks, params: Ensemble
) -> dict[str, Fitted]:
    """Fit every task of a track."""
    if not members:
        raise MienError(f"params.yaml: ensemble.members.{track} is empty; name a system")
    return {task: fit_task(task, track, timeline, [m[task] for m in members], labels[task], params) for task in labels}


def combined_tasks(fitted: dict[str, Fitted], timeline: Timeline, members: list[Tasks]) -> Tasks:
    """Final scores of every task."""
    return {task: combined(how, timeline, [m[task] for m in members]) for task, how in fitted.items()}


def fold_of(groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold number of each row, whole groups together; as many folds as there are groups where those are fewer."""
    count = len(np.unique(groups))
    if count < 2:
        return np.zeros(len(groups), np.int64)
    return grouped_folds(groups.astype(str).tolist(), min(folds, count), seed)


def inner_fold_decisions(
    track: str, timeline: Timeline, members: list[Tasks], labels: Tasks, params: Ensemble
) -> Tasks:
    """Decisions of each row when everything was fitted without its group's fold."""
    folds = fold_of(timeline.groups, params.folds, params.seed)
    decided: Tasks = {}
    for number in np.unique(folds):
        inside, outside = np.flatnonzero(folds == number), np.flatnonzero(folds != number)
        train = outside if len(outside) else inside
        fitted = fit_track(track, timeline.take(train), _rows(members, train), take(labels, train), params)
        part = decide(combined_tasks(fitted, timeline.take(inside), _rows(members, inside)), thresholds_of(fitted))
        for task, values in part.items():
            decided.setdefault(task, np.zeros((len(folds), *values.shape[1:]), values.dtype))[inside] = values
    return decided


def take(tasks: Tasks, rows: np.ndarray) -> Tasks:
    """Some rows of every task."""
    return {task: values[rows] for task, values in tasks.items()}


def _rows(members: list[Tasks], rows: np.ndarray) -> list[Tasks]:
    return [take(member, rows) for member in members]
