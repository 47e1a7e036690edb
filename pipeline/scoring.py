"""From scores to the official metric: labels of an axis, decisions, and predictions as Parquet."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.abaw import metrics
from pipeline.abaw.fill import fill_scores
from pipeline.base.shards import read_parquet, write_parquet
from pipeline.tracks import METRIC_TASK, TASKS_OF

KEYS = ("split", "video", "base_video", "frame", "ordinal", "image")
Tasks = dict[str, np.ndarray]


def column_array(column: pa.ChunkedArray) -> np.ndarray:
    """A numeric or fixed-size-list column as an array (rows,) or (rows, size)."""
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)
    return array.to_numpy(zero_copy_only=False)


def task_arrays(track: str, table: pa.Table) -> Tasks:
    """Labels or scores of a track's tasks: expression (N,) or (N, C), aus (N, 12), va (N, 2)."""
    return {task: column_array(table[task]) for task in TASKS_OF[track]}


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


def official_score(track: str, labels: Tasks, decided: Tasks) -> metrics.Score:
    """The track's official metric under its masks."""
    if track == "mtl":
        by_name = [{METRIC_TASK[task]: values for task, values in part.items()} for part in (labels, decided)]
        return metrics.score(track, *by_name)
    (task,) = TASKS_OF[track]
    return metrics.score(track, labels[task], decided[task])


def baselines(track: str, labels: Tasks) -> dict[str, float]:
    """Scores of the best constant predictor and of chance on the same labels."""
    given: Any = {METRIC_TASK[t]: v for t, v in labels.items()} if track == "mtl" else labels[TASKS_OF[track][0]]
    return {
        "constant": metrics.constant_baseline(track, given)["score"],
        "chance": metrics.chance_baseline(track, given)["score"],
    }


def fill_missing(axis: pa.Table, scores: Tasks, present: np.ndarray) -> Tasks:
    """Give rows without a face scores interpolated within their video; a video without any gets a flat guess.

    The flat guess is a uniform distribution with class 0 a hair ahead, no AU, and zero valence and arousal.
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
        flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
        table = table.append_column(task, pa.FixedSizeListArray.from_arrays(pa.array(flat), values.shape[1]))
    write_parquet(path, table)


def read_predictions(path: Path, track: str) -> tuple[pa.Table, Tasks, np.ndarray]:
    """Axis, scores and the mask of rows with a face."""
    table = read_parquet(path)
    return table.select(list(KEYS)), task_arrays(track, table), column_array(table["found"]).astype(bool)
