"""Ensembling and post-processing, fitted on validation, with the price of that fitting measured.

Fitted for each task: convex weights of the members (mean of scores), a smoothing half-window in frames (within a
video, by frame distance), a threshold for each AU. The optimism is the tuned score minus the score of inner folds:
for each group of base videos everything is fitted on the others and applied to it, and the metric is taken once over
all of them.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from pipeline.abaw.folds import grouped_folds
from pipeline.abaw.gaps import smooth
from pipeline.abaw.tracks import TRACK_OF_TASK, TrackName
from pipeline.core.errors import MienError
from pipeline.core.params import Section
from pipeline.ensemble.weights import best_weights
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


def fit_task(
    task: str, track: str, timeline: Timeline, scores: list[np.ndarray], labels: np.ndarray, params: Ensemble
) -> Fitted:
    """Weights, then the half-window under them, then AU thresholds, each the best in the official metric."""
    metric = track if track == "lsd" else TRACK_OF_TASK[task]

    def judge(weights: tuple[float, ...], half_window: int) -> float:
        values = _smoothed(timeline, combine(scores, weights), half_window)
        limits = np.array(unit_thresholds(values)) if task == "aus" else THRESHOLD
        return official_score(metric, {task: labels}, decide({task: values}, limits))["score"]

    def unit_thresholds(values: np.ndarray) -> tuple[float, ...]:
        return shrunk_thresholds(labels, values, params.au_thresholds, params.au_prior_frames)

    weights = best_weights(lambda w: judge(w, 0), len(scores), params.weight_step)
    windows = sorted(params.half_windows_frames) if timeline.timed else [0]
    half_window = max(windows, key=lambda h: judge(weights, h)) if len(windows) > 1 else windows[0]
    thresholds: tuple[float, ...] = ()
    if task == "aus":
        values = _smoothed(timeline, combine(scores, weights), half_window)
        thresholds = unit_thresholds(values)
    return Fitted(weights, half_window, thresholds)


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
