"""Ensembling and post-processing, fitted on validation, with the price of that fitting measured.

Fitted for each task: convex weights of the members (mean of scores), a smoothing half-window in frames (within a
video, by frame distance), a threshold for each AU, a prior that class scores are divided by. The optimism is the tuned
score minus the score of inner folds: for each group of base videos everything is fitted on the others and applied to
it, and the metric is taken once over all of them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from pipeline.abaw.folds import grouped_folds
from pipeline.abaw.gaps import Smoother
from pipeline.abaw.resample import group_codes
from pipeline.abaw.tracks import INVALID_CLASS, TRACK_OF_TASK, TrackName
from pipeline.core.errors import MienError
from pipeline.core.params import Section
from pipeline.ensemble.candidates import Expressions, Folds, Found, Scorer, Units, ValenceArousal, Weights, combine
from pipeline.ensemble.weights import best_weights
from pipeline.tables.fitted import Fitted, thresholds_of
from pipeline.tables.scores import Tasks, decide, recordings

PRIOR_FLOOR = 1e-6  # of a class that no member ever gives

# A member is a training by its name, or a name of its own for the mean of several: {vit: [vit-0, vit-1, vit-2]}.
Member = str | Annotated[dict[str, Annotated[list[str], Field(min_length=1)]], Field(min_length=1, max_length=1)]
Power = Annotated[float, Field(ge=0, le=1)]


class Ensemble(Section):
    """What is fitted on the validation set, and how its optimism is measured.

    `au_prior_frames`: an AU's own threshold counts as much as the common one of all AUs when it is active in so many
    frames (0: each AU has its own). `class_prior_powers`: a track's class scores may be divided by one of these powers
    of their mean over the validation set, so that rare classes are answered more often, which macro F1 rewards; those
    of a track that is not named stay as they are.
    """

    seed: int
    folds: int = Field(ge=2)
    weight_step: float = Field(gt=0, le=1)
    half_windows_frames: list[int] = Field(min_length=1)
    au_thresholds: list[float] = Field(min_length=1)
    au_prior_frames: float = Field(default=0.0, ge=0)
    bootstrap_draws: int = Field(ge=0)
    class_prior_powers: dict[TrackName, Annotated[list[Power], Field(min_length=1)]] = Field(default_factory=dict)
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

    def powers_of(self, track: str) -> list[float]:
        """The powers of its prior that a track's class scores are tried over, the weakest first."""
        return sorted(self.class_prior_powers.get(track, []))  # type: ignore[call-overload]


@dataclass
class Timeline:
    """When each row was: its video, the group of its recording, its frame number. A video lies within one group."""

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

    @cached_property
    def _smoother(self) -> Smoother:
        return Smoother(self.videos, self.frames)

    def smoothed(self, values: np.ndarray, half_window: int) -> np.ndarray:
        """Scores (rows, columns) over a window of frames; as they are where there is no time or no window."""
        return self._smoother.smooth(values, half_window) if half_window and self.timed else values


def combined(fitted: Fitted, timeline: Timeline, scores: list[np.ndarray]) -> np.ndarray:
    """Combined and smoothed scores of a task, those of classes over their prior."""
    values = timeline.smoothed(combine(scores, fitted.weights), fitted.half_window_frames)
    return over_prior(values, np.array(fitted.class_prior)) if fitted.class_prior else values


def over_prior(values: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Class scores (rows, classes), each over its prior (classes,), as a distribution again.

    Menon et al., Long-tail learning via logit adjustment (2021), with the mean score in the place of the class's share.
    """
    raised = values / prior
    return raised / raised.sum(axis=1, keepdims=True)


def combined_tasks(fitted: dict[str, Fitted], timeline: Timeline, members: list[Tasks]) -> Tasks:
    """Final scores of every task."""
    return {task: combined(how, timeline, [m[task] for m in members]) for task, how in fitted.items()}


class _TaskFit:
    """One task's candidates on every training set, each scored once."""

    def __init__(
        self,
        task: str,
        track: str,
        timeline: Timeline,
        members: list[Tasks],
        labels: Tasks,
        params: Ensemble,
        at: Folds,
    ) -> None:
        self._timeline, self._params = timeline, params
        self._scores = [member[task] for member in members]
        self._scorer = _scorer(task, track, self._scores, labels[task], params, at)
        self._found: dict[tuple[Weights, int], Found] = {}
        self._powers = params.powers_of(track) if task == "expression" else []
        self._sets = [(labels[task] != INVALID_CLASS) & (kept[at.of_row] > 0) for kept in at.kept if self._powers]

    def _judged(self, weights: Weights, half_window: int) -> Found:
        key = (weights, half_window)
        if key not in self._found:
            if half_window and self._timeline.timed:
                self._found[key] = self._scorer.smoothed(self._mix(weights, half_window))
            else:
                self._found[key] = self._scorer.mixed(weights)
        return self._found[key]

    def fit(self, used: list[int], training_set: int) -> Fitted:
        """Weights, then the half-window under them, then thresholds and prior, each the best in the official metric."""

        def among_all(weights: Weights) -> Weights:
            given = dict(zip(used, weights, strict=True))
            return tuple(given.get(number, 0.0) for number in range(len(self._scores)))

        def score(weights: Weights, half_window: int) -> float:
            return float(self._judged(weights, half_window).scores[training_set])

        weights = among_all(best_weights(lambda w: score(among_all(w), 0), len(used), self._params.weight_step))
        windows = sorted(self._params.half_windows_frames) if self._timeline.timed else [0]
        half_window = max(windows, key=lambda h: score(weights, h)) if len(windows) > 1 else windows[0]
        limits = self._judged(weights, half_window).thresholds
        thresholds = tuple(limits[training_set].tolist()) if limits is not None else ()
        return Fitted(weights, half_window, thresholds, self._prior(weights, half_window, training_set))

    def _prior(self, weights: Weights, half_window: int, training_set: int) -> tuple[float, ...]:
        """What class scores are divided by: the best power of their mean over a training set; () as they are."""
        if not self._powers or not self._sets[training_set].any():
            return ()
        mix = self._mix(weights, half_window)
        mean = np.maximum(mix[self._sets[training_set]].mean(axis=0), PRIOR_FLOOR)

        def score(power: float) -> float:
            return float(self._scorer.smoothed(mix / mean**power).scores[training_set])

        best = max(self._powers, key=score)
        return tuple((mean**best).tolist()) if best else ()

    def _mix(self, weights: Weights, half_window: int) -> np.ndarray:
        return self._timeline.smoothed(combine(self._scores, weights), half_window)


def _scorer(
    task: str, track: str, scores: list[np.ndarray], labels: np.ndarray, params: Ensemble, folds: Folds
) -> Scorer:
    if task == "aus":
        return Units(scores, labels, folds, params.au_thresholds, params.au_prior_frames)
    if task == "va":
        return ValenceArousal(scores, labels, folds)
    return Expressions(track if track == "lsd" else TRACK_OF_TASK[task], scores, labels, folds)


class TrackFit:
    """What is fitted for a track, on all of validation and on all but each inner fold, with any of the members.

    A candidate that several of these ask for is scored once.
    """

    def __init__(
        self, track: str, timeline: Timeline, members: list[Tasks], labels: Tasks, params: Ensemble, folds: np.ndarray
    ) -> None:
        """`folds` (rows,) numbers the fold of each row."""
        if not members:
            raise MienError(f"params.yaml: ensemble.members.{track} is empty; name a system")
        self._timeline, self._members, self._folds = timeline, members, folds
        at = Folds.of(folds)
        self._tasks = {task: _TaskFit(task, track, timeline, members, labels, params, at) for task in labels}

    def fit(self, used: list[int], without: int | None = None) -> dict[str, Fitted]:
        """What is fitted for each task with the members `used`, the others at weight zero; without a fold, or on all.

        Where there is one fold alone, it is fitted on itself.
        """
        training_set = 0 if without is None else without + 1
        return {task: fit.fit(used, training_set) for task, fit in self._tasks.items()}

    def inner_decisions(self, used: list[int]) -> Tasks:
        """Decisions of each row when everything was fitted without its group's fold."""
        decided: Tasks = {}
        for number in np.unique(self._folds).tolist():
            inside = np.flatnonzero(self._folds == number)
            fitted, timeline = self.fit(used, without=number), self._timeline.take(inside)
            part = decide(combined_tasks(fitted, timeline, _rows(self._members, inside)), thresholds_of(fitted))
            for task, values in part.items():
                decided.setdefault(task, np.zeros((len(self._folds), *values.shape[1:]), values.dtype))[inside] = values
        return decided


def fit_track(
    track: str, timeline: Timeline, members: list[Tasks], labels: Tasks, params: Ensemble
) -> dict[str, Fitted]:
    """Fit every task of a track."""
    once = np.zeros(len(timeline.videos), np.int64)
    return TrackFit(track, timeline, members, labels, params, once).fit(list(range(len(members))))


def fold_of(groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold number of each row, whole groups together; as many folds as there are groups where those are fewer."""
    names, codes = group_codes(groups)
    if len(names) < 2:
        return np.zeros(len(groups), np.int64)
    return grouped_folds(names.astype(str).tolist(), min(folds, len(names)), seed)[codes]


def inner_fold_decisions(
    track: str, timeline: Timeline, members: list[Tasks], labels: Tasks, params: Ensemble
) -> Tasks:
    """Decisions of each row when everything was fitted without its group's fold."""
    folds = fold_of(timeline.groups, params.folds, params.seed)
    return TrackFit(track, timeline, members, labels, params, folds).inner_decisions(list(range(len(members))))


def take(tasks: Tasks, rows: np.ndarray) -> Tasks:
    """Some rows of every task."""
    return {task: values[rows] for task, values in tasks.items()}


def _rows(members: list[Tasks], rows: np.ndarray) -> list[Tasks]:
    return [take(member, rows) for member in members]
