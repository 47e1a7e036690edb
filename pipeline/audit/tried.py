"""Which of the changes between two submissions moved the score: each tried alone, where that costs no training.

The members' predictions of both are at hand, so an ensemble can be fitted on any mix of them. Each change is made to
the first alone, and undone in the second alone; where the two figures are unlike, changes act together.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.audit.case import Case
from pipeline.audit.layout import as_locked
from pipeline.audit.lineage import upstream
from pipeline.audit.locks import Stage
from pipeline.core.errors import MienError
from pipeline.core.params import validated
from pipeline.core.paths import MANIFEST, SYSTEMS
from pipeline.ensemble.fit import Ensemble, Timeline, inner_fold_decisions
from pipeline.ensemble.members import read_members, validation_labels
from pipeline.run.why import differences
from pipeline.tables.scores import Tasks, official_score

FITTING = "how the ensemble is fitted"


@dataclass(frozen=True)
class Ingredients:
    """What an ensemble is fitted on: its settings, its members' scores on validation by name, and the labels."""

    settings: Ensemble
    members: dict[str, Tasks]
    timeline: Timeline
    labels: Tasks
    rows: list[tuple]


def try_causes(first: Case, second: Case) -> list[str]:
    """A line for each change of the ensemble's ingredients, the one that moved the score most first."""
    try:
        ours, theirs = _ingredients(first), _ingredients(second)
    except MienError as error:
        return [f"not tried: {error}"]
    if ours.rows != theirs.rows or any(not np.array_equal(ours.labels[t], theirs.labels[t]) for t in ours.labels):
        return ["not tried: validation has other rows or labels, so the two scores are of different questions"]
    changes = list(_changes(ours, theirs))

    @functools.cache
    def score(made: frozenset[str]) -> float:
        return _score(first.track, ours, theirs, made)

    every = frozenset(changes)
    start, end = score(frozenset()), score(every)
    told = []
    for change in changes:
        alone, last = score(frozenset((change,))) - start, end - score(every - {change})
        told.append((max(abs(alone), abs(last)), change, alone, last))
    lines = [
        f"{change}: {alone:+.4f} alone, {last:+.4f} as the last{_why(first, second, change)}"
        for _, change, alone, last in sorted(told, key=lambda one: -one[0])
    ]
    return [f"{start:.4f} -> {end:.4f}, fitted anew by the code that is here", *lines] if lines else []


def _ingredients(case: Case) -> Ingredients:
    """A case's, from the bytes that its lock tells of; `MienError` names what is not here."""
    track = case.track
    params = case.lock.stages[f"ensemble@{track}"].params["params.yaml"]["ensemble"]
    settings = validated(Ensemble, params, "ensemble")
    with as_locked(case, [(SYSTEMS / track).as_posix(), MANIFEST.as_posix()]):
        trainings = settings.trainings_of(track)
        folders = {path.name for path in (SYSTEMS / track).iterdir()}
        axis, members, _ = read_members(track, trainings, "validation", folders)
        labels = validation_labels(track)
    keys = list(zip(*(axis[name].to_pylist() for name in ("video", "frame", "ordinal")), strict=True))
    return Ingredients(settings, dict(zip(trainings, members, strict=True)), Timeline.of(axis, track), labels, keys)


def _changes(ours: Ingredients, theirs: Ingredients) -> Iterator[str]:
    """Members that only one has or that score otherwise, and the settings of the fitting."""
    for name in ours.members | theirs.members:
        a, b = ours.members.get(name), theirs.members.get(name)
        if a is None or b is None or any(not np.array_equal(a[t], b[t], equal_nan=True) for t in a):
            yield name
    if _fitting(ours) != _fitting(theirs):
        yield FITTING


def _fitting(side: Ingredients) -> dict:
    return side.settings.model_dump(exclude={"members"})


def _score(track: str, ours: Ingredients, theirs: Ingredients, changes: frozenset[str]) -> float:
    """The score by inner folds of the first's ensemble with some of the changes made; NaN where no member is left."""
    names = ours.members | theirs.members
    members = {name: (theirs if name in changes else ours).members.get(name) for name in names}
    used = {name: scores for name, scores in members.items() if scores is not None}
    if not used:
        return float("nan")
    fitting = (theirs if FITTING in changes else ours).settings
    decided = inner_fold_decisions(track, ours.timeline, list(used.values()), ours.labels, fitting)
    return official_score(track, ours.labels, decided)["score"]


def _why(first: Case, second: Case, change: str) -> str:
    """The params that changed on the way to a member, in brackets."""
    if change == FITTING:
        return ""
    ours, theirs = (_behind(case, change) for case in (first, second))
    told = [
        text.removeprefix("params: .")
        for name in ours.keys() & theirs.keys()
        for text in differences("", dict(ours[name].params), dict(theirs[name].params))
    ]
    short = sorted({text.removeprefix("params.yaml.") for text in told})
    return f" ({'; '.join(short[:3])})" if short else ""


def _behind(case: Case, member: str) -> dict[str, Stage]:
    """The stages behind a member of the case's track, by the folder of its predictions."""
    folder = (SYSTEMS / case.track / member).as_posix()
    made = next((s.name for s in case.stages if any(o.path == folder for o in s.outs)), None)
    return {name: case.lock.stages[name] for name in upstream(case.lock, made)} if made else {}
