"""From scores to the official metric: labels of an axis, decisions, and predictions as Parquet."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.abaw import metrics
from pipeline.abaw.gaps import fill_scores
from pipeline.abaw.resample import TimesScore, bootstrap_interval, group_codes
from pipeline.abaw.sums import part_scores
from pipeline.abaw.tracks import TRACKS
from pipeline.core.parquet import array_column, column_array, read_parquet, write_parquet
from pipeline.tables.thresholds import best_thresholds

KEYS = ("split", "video", "base_video", "frame", "ordinal", "image")
Tasks = dict[str, np.ndarray]
BASELINE_DRAWS = 100
JUDGING_GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def task_arrays(track: str, table: pa.Table) -> Tasks:
    """Labels or scores of a track's tasks: expression (N,) or (N, C), aus (N, 12), va (N, 2)."""
    return {task: column_array(table[task]) for task in TRACKS[track].tasks}


def decide(scores: Tasks, au_thresholds: np.ndarray | float = 0.5) -> Tasks:
    """What is submitted: the likeliest class, AUs at or above their threshold, valence and arousal within [-1, 1]."""
    decided: Tasks = {}
    if "expression" in scores:
        decided["expression"] = scores["expression"].argmax(axis=1)
    if "aus" in scores:
        decided["aus"] = (scores["aus"] >= au_thresholds).astype(np.int64)
    if "va" in scores:
        decided["va"] = scores["va"].clip(-1, 1)
    return decided


def judged_decisions(labels: Tasks, scores: Tasks) -> Tasks:
    """What a training is judged by: AUs at the thresholds that suit it best on a coarse grid, as an ensemble has them.

    At one half, a network whose loss weighs active units up to 37 times (EMMA) would be judged by that weight.
    """
    limits = np.array(best_thresholds(labels["aus"], scores["aus"], JUDGING_GRID)) if "aus" in labels else 0.5
    return decide(scores, limits)


def official_score(track: str, labels: Tasks, decided: Tasks) -> metrics.Score:
    """The track's official metric under its masks."""
    tasks = TRACKS[track].tasks
    if len(tasks) > 1:
        return metrics.score(track, labels, decided)
    return metrics.score(track, labels[tasks[0]], decided[tasks[0]])


def official_part_scores(track: str, labels: Tasks, decided: Tasks, parts: np.ndarray, count: int) -> TimesScore:
    """The official score of any choice of parts: recordings drawn, folds left out (`abaw/sums.py`)."""
    tasks = TRACKS[track].tasks
    if len(tasks) > 1:
        return part_scores(track, labels, decided, parts, count)
    return part_scores(track, labels[tasks[0]], decided[tasks[0]], parts, count)


def baselines(track: str, labels: Tasks) -> dict[str, float]:
    """Scores of the best constant predictor and of chance on the same labels."""
    tasks = TRACKS[track].tasks
    truth: Any = labels if len(tasks) > 1 else labels[tasks[0]]
    return {
        "constant": metrics.constant_baseline(track, truth)["score"],
        "chance": metrics.chance_baseline(track, truth)["score"],
    }


def recordings(axis: pa.Table, track: str) -> np.ndarray:
    """The recording of each row: its base video; LSD's pictures have none, each is its own."""
    return np.arange(len(axis)) if track == "lsd" else axis["base_video"].to_numpy()


def leaves_baselines(track: str, labels: Tasks, decided: Tasks, groups: np.ndarray) -> bool:
    """Whether a score is above the best constant and chance beyond doubt.

    The low end of its 95 % bootstrap interval over recordings decides; where there is one recording alone, the score.
    """
    names, codes = group_codes(groups)
    score = official_part_scores(track, labels, decided, codes, len(names))
    low, _ = bootstrap_interval(score, len(names), seed=0, draws=BASELINE_DRAWS)
    if np.isnan(low):
        low = official_score(track, labels, decided)["score"]
    return low > max(baselines(track, labels).values())


def fill_missing(axis: pa.Table, scores: Tasks, present: np.ndarray) -> Tasks:
    """Give rows without a face scores interpolated within their video; a video without any gets a flat guess.

    The flat guess is a uniform distribution (of which `decide` takes class 0), no AU, and zero valence and arousal.
    """
    videos, frames = axis["video"].to_numpy(), axis["frame"].to_numpy()
    filled = {}
    for task, values in scores.items():
        default = np.zeros(values.shape[1])
        if task == "expression":
            default[:] = 1 / values.shape[1]
        filled[task] = fill_scores(videos, frames, values, present, default).values
    return filled


def write_predictions(path: Path, axis: pa.Table, scores: Tasks, found: np.ndarray) -> None:
    """Publish scores (float32) on their axis; `found` tells the rows with a face of their own."""
    table = axis.select([name for name in KEYS if name in axis.column_names])
    table = table.append_column("found", pa.array(found))
    for task, values in scores.items():
        table = table.append_column(task, array_column(values.astype(np.float32)))
    write_parquet(path, table)


def read_predictions(path: Path, track: str) -> tuple[pa.Table, Tasks, np.ndarray]:
    """Axis, scores and the mask of rows with a face."""
    table = read_parquet(path)
    return table.select(list(KEYS)), task_arrays(track, table), column_array(table["found"]).astype(bool)
