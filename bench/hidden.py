"""Scores on the demo's hidden test truth (data/demo_truth), which nothing was fitted or chosen on.

Of the ensembles as submitted, and of each member by itself, smoothed and thresholded on validation.

usage: python -m bench.hidden    (in a reproduced workspace)
"""

from pathlib import Path

import numpy as np

from pipeline.abaw.tracks import TRACKS, TrackName
from pipeline.core.files import write_json
from pipeline.core.paths import ENSEMBLE
from pipeline.ensemble.fit import Timeline, combined_tasks, fit_track
from pipeline.ensemble.members import read_members, validation_labels
from pipeline.settings import load_params
from pipeline.tables.fitted import Fitted, read_fitted, thresholds_of
from pipeline.tables.scores import Tasks, decide, official_score

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


def scores(track: TrackName) -> dict[str, float]:
    """Official metric of the ensemble and of each member."""
    settings = load_params().ensemble
    trainings = settings.trainings_of(track)
    table, members, _ = read_members(track, trainings, "validation")
    axis, labels = Timeline.of(table, track), validation_labels(track)
    test_table, test_members, _ = read_members(track, trainings, "test")
    test_axis, hidden = Timeline.of(test_table, track), truth(track)

    def score(fitted: dict[str, Fitted], of: list[Tasks]) -> float:
        found = combined_tasks(fitted, test_axis, of)
        return official_score(track, hidden, decide(found, thresholds_of(fitted)))["score"]

    def alone(number: int) -> float:
        return score(fit_track(track, axis, [members[number]], labels, settings), [test_members[number]])

    _, submitted = read_fitted(ENSEMBLE / track / "fitted.json")
    return {"ensemble": score(submitted, test_members)} | {name: alone(i) for i, name in enumerate(trainings)}


def main() -> None:
    tracks = load_params().ensemble.members
    found = {track: {name: round(score, 4) for name, score in scores(track).items()} for track in tracks}
    write_json(RESULT, found)
    for track, by_name in found.items():
        print(f"{track:5s}", ", ".join(f"{name} {score:.3f}" for name, score in by_name.items()))


if __name__ == "__main__":
    main()
