"""The members' predictions on one axis, joined by key; a member may be the mean of several trainings.

A training that left a fold out judges the rows of that fold alone. Where several make a member, each row of validation
gets the mean of those that have it (of folds: the one that has not trained on it), and each row of the test list the
mean of all.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import MienError
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import LABELS, SYSTEMS, TEMPLATES
from pipeline.ensemble.fit import take
from pipeline.tables.join import align, find_listed
from pipeline.tables.scores import KEYS, Tasks, fill_missing, read_predictions, task_arrays


def official_axis(track: str, split: str) -> pa.Table:
    """The rows of the labels (`validation`) or of the template (`test`), in their order: the axis of everything."""
    if split == "test":
        return read_parquet(TEMPLATES / f"{track}.parquet")
    table = read_parquet(LABELS / f"{track}.parquet")
    return table.filter(pc.equal(table["split"], split))


def validation_labels(track: str) -> Tasks:
    """Labels on the validation axis, as `read_members` gives it."""
    return task_arrays(track, official_axis(track, "validation"))


def read_members(
    track: str, trainings: Mapping[str, Sequence[str]], split: str, others: Collection[str] = ()
) -> tuple[pa.Table, list[Tasks], np.ndarray]:
    """Axis, each member's filled scores on it, and the rows where any member saw a face.

    `trainings` are those of each member. They are joined by key, whatever the order of their rows; a member that has
    other rows is refused, and so is a folder that is neither a member nor one of `others`: a leaving of former params.
    """
    wanted = {name for names in trainings.values() for name in names} | set(others)
    # a dot: what a killed training left, which its next run sweeps
    strangers = {path.name for path in (SYSTEMS / track).glob("[!.]*") if path.is_dir()} - wanted
    if strangers:
        raise MienError(
            f"{SYSTEMS / track}/{min(strangers)} is no member of this ensemble; delete it or add it to params.yaml"
        )
    axis = official_axis(track, split).select(list(KEYS))
    members, present = [], np.zeros(len(axis), bool)
    for member, names in trainings.items():
        one = len(names) == 1
        scores, found = _one(track, axis, names[0], split) if one else _mean(track, axis, member, names, split)
        present |= found
        members.append(fill_missing(axis, scores, found))
    return axis, members, present


def _one(track: str, axis: pa.Table, training: str, split: str) -> tuple[Tasks, np.ndarray]:
    """A training's scores on the axis, and which rows it saw a face of."""
    path = SYSTEMS / track / training / f"{split}.parquet"
    table, scores, found = read_predictions(path, track)
    rows = align(axis, table, str(path))
    return take(scores, rows), found[rows]


def _mean(track: str, axis: pa.Table, member: str, trainings: Sequence[str], split: str) -> tuple[Tasks, np.ndarray]:
    """The mean of those trainings that have a row; every row must be had by one."""
    sums: Tasks = {}
    listed, seen = np.zeros(len(axis), bool), np.zeros(len(axis), np.int64)
    for training in trainings:
        table, scores, found = read_predictions(SYSTEMS / track / training / f"{split}.parquet", track)
        rows = find_listed(table, axis)
        listed |= rows >= 0
        here = (rows >= 0) & found[rows]
        seen += here
        for task, values in scores.items():
            total = sums.setdefault(task, np.zeros((len(axis), values.shape[1])))
            total[here] += values[rows[here]]
    if not listed.all():
        lacking = axis.filter(pa.array(~listed))["image"][0].as_py()
        raise MienError(
            f"params.yaml: ensemble.members.{track}: none of {member}'s trainings has judged {lacking} ({split}) "
            f"and {(~listed).sum() - 1} rows more; name the trainings of all folds"
        )
    return {task: np.where(seen[:, None] > 0, total / seen[:, None].clip(1), np.nan) for task, total in sums.items()}, (
        seen > 0
    )
