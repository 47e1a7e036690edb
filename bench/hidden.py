"""Scores on the demo's hidden test truth (data/demo_truth), which nothing was fitted or chosen on.

Of the ensembles as submitted, and of each member by itself, smoothed and thresholded on validation; and how large a
difference of two members the recordings of the test list leave open, whatever the number of seeds.

usage: python -m bench.hidden    (in a reproduced workspace)
"""

import itertools
from pathlib import Path

import numpy as np

from bench.paired import paired_difference
from pipeline.abaw.tracks import TRACKS, TrackName
from pipeline.core.files import write_json
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import ENSEMBLE, TEMPLATES
from pipeline.ensemble.fit import Timeline, combined_tasks, fit_track
from pipeline.ensemble.members import read_members, validation_labels
from pipeline.settings import load_params
from pipeline.tables.fitted import Fitted, read_fitted, thresholds_of
from pipeline.tables.scores import Tasks, decide, official_score, recordings

RESULT = Path("docs/benchmarks/demo_hidden.json")
TRUTH = Path("data/demo_truth")
COLUMNS = {"va": 2, "expression": 1, "aus": 12}


def truth(track: str) -> Tasks:
    """The hidden labels on the axis of the official template."""
    rows = [line.split(",")[1:] for line in (TRUTH / f"{track}.txt").read_text().splitlines()[1:]]
    values = np.array(rows, dtype=np.float64)
    labels: Tasks = {}
    for task in (task for task in COLUMNS if task in TRACKS[track].tasks):
        labels[task], values = np.split(values, [COLUMNS[task]], axis=1)
        if task != "va":
            labels[task] = labels[task].astype(int)
    if "expression" in labels:
        labels["expression"] = labels["expression"][:, 0]
    return labels


def decisions(track: TrackName) -> dict[str, Tasks]:
    """What the ensemble decides on the test list, and each member by itself."""
    settings = load_params().ensemble
    trainings = settings.trainings_of(track)
    table, members, _ = read_members(track, trainings, "validation")
    axis, labels = Timeline.of(table, track), validation_labels(track)
    test_table, test_members, _ = read_members(track, trainings, "test")
    test_axis = Timeline.of(test_table, track)

    def decided(fitted: dict[str, Fitted], of: list[Tasks]) -> Tasks:
        return decide(combined_tasks(fitted, test_axis, of), thresholds_of(fitted))

    def alone(number: int) -> Tasks:
        return decided(fit_track(track, axis, [members[number]], labels, settings), [test_members[number]])

    _, submitted = read_fitted(ENSEMBLE / track / "fitted.json")
    return {"ensemble": decided(submitted, test_members)} | {name: alone(i) for i, name in enumerate(trainings)}


def half_widths(track: TrackName, members: dict[str, Tasks]) -> dict[str, float]:
    """Half of the 95 % interval of the difference of two members by draws of recordings alone.

    No number of seeds makes it narrower: it takes more recordings.
    """
    labels, groups = truth(track), recordings(read_parquet(TEMPLATES / f"{track}.parquet"), track)
    found = {}
    for one, other in itertools.combinations(members, 2):
        difference = paired_difference([[members[one]]], [[members[other]]], labels, track, groups)
        found[f"{one}, {other}"] = (difference.high - difference.low) / 2
    return found


def main() -> None:
    scores, widths = {}, {}
    for track in load_params().ensemble.members:
        decided = decisions(track)
        scores[track] = {name: _score(track, answer) for name, answer in decided.items()}
        widths[track] = half_widths(track, {name: decided[name] for name in decided if name != "ensemble"})
        told = ", ".join(f"{name} {score:.3f}" for name, score in scores[track].items())
        half = np.median([*widths[track].values()])
        print(f"{track:5s} {told}; by recordings alone +-{half:.3f} between two members")
    write_json(RESULT, _rounded({"scores": scores, "half_widths_by_recordings": widths}))


def _score(track: str, decided: Tasks) -> float:
    return official_score(track, truth(track), decided)["score"]


def _rounded(tree: dict) -> dict:
    return {key: _rounded(value) if isinstance(value, dict) else round(value, 4) for key, value in tree.items()}


if __name__ == "__main__":
    main()
