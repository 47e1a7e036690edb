"""What was predicted, as rows of a table: one for each face of a frame, or one that says there is none."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.abaw.tracks import AUS
from pipeline.faces.extract import Face
from pipeline.predict.media import Seen
from pipeline.predict.members import TrackModel
from pipeline.predict.pose import head_pose
from pipeline.tables.scores import Tasks

Row = dict[str, Any]
BOX = ("x1", "y1", "x2", "y2")
LANDMARKS = tuple(
    f"{point}_{axis}" for point in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth") for axis in "xy"
)
POSE = ("yaw", "pitch", "roll")


@dataclass(frozen=True)
class Columns:
    """What the trained tasks can say: the names of the expressions and the AUs' thresholds, empty where untrained.

    `expression_by` is what gives the expressions; `people`: whether the people of a video are told apart.
    """

    expressions: tuple[str, ...]
    au_thresholds: tuple[float, ...]
    va: bool
    expression_by: str | None = None
    people: bool = False

    @classmethod
    def of(cls, models: Sequence[TrackModel], people: bool = False) -> "Columns":
        """Of the ensembles that answer."""
        by_task = {task: model for model in models for task in model.fitted}
        expression, aus = by_task.get("expression"), by_task.get("aus")
        return cls(
            expression.track.classes if expression else (),
            aus.fitted["aus"].au_thresholds if aus else (),
            "va" in by_task,
            expression.label if expression else None,
            people,
        )

    def schema(self) -> pa.Schema:
        """Columns of the output, whatever was found."""
        number = pa.float64()
        columns: list[tuple[str, pa.DataType]] = [("source", pa.string()), ("frame", pa.int64()), ("seconds", number)]
        columns += [("person", pa.int64())] if self.people else []
        columns += [("face", pa.int64()), ("found", pa.bool_())]
        columns += [(name, number) for name in (*BOX, "detection", *LANDMARKS, *POSE)]
        if self.expressions:
            columns += [("expression", pa.string()), *((f"p_{name}", number) for name in self.expressions)]
            columns += [("expression_by", pa.string())]
        if self.au_thresholds:
            columns += [*((unit, number) for unit in AUS), *((f"{unit}_active", pa.bool_()) for unit in AUS)]
        if self.va:
            columns += [("valence", number), ("arousal", number)]
        return pa.schema(columns)


def rows_of(seen: Iterable[Seen], scores: Tasks, columns: Columns) -> Iterator[Row]:
    """Plain rows for a table: where, whether there is a face, its box, landmarks and pose, and every score."""
    place = 0
    for item in seen:
        row: Row = {
            "source": item.source.as_posix(),
            "frame": item.frame,
            "seconds": None if item.seconds is None else round(item.seconds, 3),
            "person": item.person,
            "face": item.number,
            "found": item.face is not None,
        }
        if item.face:
            row |= _place_row(item.face) | _scores_row(scores, place, columns)
            place += 1
        yield row


def _place_row(face: Face) -> Row:
    """Box, landmarks and pose; a crop that was taken as it is has a box of zeros, and neither landmarks nor pose."""
    row: Row = dict(zip(BOX, _rounded(face.box), strict=True)) | {"detection": round(face.score, 4)}
    if face.landmarks.any():
        row |= dict(zip(LANDMARKS, _rounded(face.landmarks.reshape(-1)), strict=True))
        row |= dict(zip(POSE, _rounded(head_pose(face.landmarks) or ()), strict=False))
    return row


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 1) for value in values]


def _scores_row(scores: Tasks, place: int, columns: Columns) -> Row:
    row: Row = {}
    if "expression" in scores:
        expression = scores["expression"][place]
        row["expression"] = columns.expressions[int(expression.argmax())]
        row |= {f"p_{name}": round(float(p), 4) for name, p in zip(columns.expressions, expression, strict=True)}
        row["expression_by"] = columns.expression_by
    if "aus" in scores:
        aus = scores["aus"][place]
        row |= {unit: round(float(p), 4) for unit, p in zip(AUS, aus, strict=True)}
        row |= {f"{unit}_active": bool(p >= t) for unit, p, t in zip(AUS, aus, columns.au_thresholds, strict=True)}
    if "va" in scores:
        row |= {name: round(float(v), 4) for name, v in zip(("valence", "arousal"), scores["va"][place], strict=True)}
    return row
