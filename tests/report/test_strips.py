"""Which faces the report shows: evenly spaced ones, and the surest errors."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pyarrow.compute as pc

from pipeline.core.parquet import read_parquet
from pipeline.core.paths import LABELS
from pipeline.report.content import Strips, TrackPage

RIGHT, SURE, UNSURE, INVALID = (0.9, 0.1), (0.05, 0.95), (0.4, 0.6), (0.0, 1.0)


def page(rows: list[tuple[float, float]], invalid: tuple[int, ...] = ()) -> Strips:
    """Validation frames of EXPR, all labelled Neutral but those that are `invalid`."""
    table = read_parquet(LABELS / "expr.parquet")
    axis = table.filter(pc.equal(table["split"], "validation")).slice(0, len(rows))
    scores = np.zeros((len(rows), 8))
    scores[:, :2] = rows
    labels = np.zeros(len(rows), np.int64)
    labels[list(invalid)] = -1
    parts = {"scores": scores, "labels": labels, "decided": scores.argmax(axis=1)}
    fake = SimpleNamespace(name="expr", axis=axis, **{name: {"expression": part} for name, part in parts.items()})
    return Strips(cast(TrackPage, fake))


def test_the_surest_error_of_each_video_is_shown(mini):
    strips = page([RIGHT, UNSURE, RIGHT, SURE, INVALID], invalid=(4,))  # frame 2 has no face
    (worst,) = strips.worst()
    assert worst["place"] == "v 4" and (worst["label"], worst["guess"]) == ("Neutral", "Anger")
    assert next(face["place"] for face in strips.even()) == "v 1"
    assert {face["place"] for face in strips.even()} <= {"v 1", "v 3", "v 4"}
    assert [face["right"] for face in strips.even() if face["place"] == "v 4"] == ["wrong"]


def test_without_errors_there_are_none_to_show(mini):
    assert page([RIGHT, RIGHT, RIGHT]).worst() == []
