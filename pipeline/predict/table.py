"""What was predicted, as rows of a table: one for each face of a frame, or one that says there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipeline.abaw.tracks import AUS
from pipeline.core.files import atomic_path
from pipeline.predict.media import Seen
from pipeline.predict.members import TrackModel
from pipeline.tables.scores import Tasks

Row = dict[str, Any]


@dataclass(frozen=True)
class Columns:
    """What the trained tasks can say: the names of the expressions and the AUs' thresholds, empty where untrained."""

    expressions: tuple[str, ...]
    au_thresholds: tuple[float, ...]
    va: bool

    @classmethod
    def of(cls, models: Sequence[TrackModel]) -> "Columns":
        """Of the ensembles that answer."""
        by_task = {task: model for model in models for task in model.fitted}
        expression, aus = by_task.get("expression"), by_task.get("aus")
        return cls(
            expression.track.classes if expression else (),
            aus.fitted["aus"].au_thresholds if aus else (),
            "va" in by_task,
        )

    def schema(self) -> pa.Schema:
        """Columns of the output, whatever was found."""
        number = pa.float64()
        columns: list[tuple[str, pa.DataType]] = [("source", pa.string()), ("frame", pa.int64()), ("seconds", number)]
        columns += [("face", pa.int64()), ("found", pa.bool_()), *((name, number) for name in ("x1", "y1", "x2", "y2"))]
        columns += [("detection", number)]
        if self.expressions:
            columns += [("expression", pa.string()), *((f"p_{name}", number) for name in self.expressions)]
        if self.au_thresholds:
            columns += [*((unit, number) for unit in AUS), *((f"{unit}_active", pa.bool_()) for unit in AUS)]
        if self.va:
            columns += [("valence", number), ("arousal", number)]
        return pa.schema(columns)


def rows_of(seen: list[Seen], scores: Tasks, columns: Columns) -> list[Row]:
    """Plain rows for a table: where, whether there is a face, its box, and every score."""
    rows = []
    place = 0
    for item in seen:
        row: Row = {
            "source": item.source.as_posix(),
            "frame": item.frame,
            "seconds": None if item.seconds is None else round(item.seconds, 3),
            "face": item.number,
            "found": item.face is not None,
        }
        if item.face:
            row |= dict(zip(("x1", "y1", "x2", "y2"), (round(float(v), 1) for v in item.face.box), strict=True))
            row |= {"detection": round(item.face.score, 4)} | _scores_row(scores, place, columns)
            place += 1
        rows.append(row)
    return rows


def _scores_row(scores: Tasks, place: int, columns: Columns) -> Row:
    row: Row = {}
    if "expression" in scores:
        expression = scores["expression"][place]
        row["expression"] = columns.expressions[int(expression.argmax())]
        row |= {f"p_{name}": round(float(p), 4) for name, p in zip(columns.expressions, expression, strict=True)}
    if "aus" in scores:
        aus = scores["aus"][place]
        row |= {unit: round(float(p), 4) for unit, p in zip(AUS, aus, strict=True)}
        row |= {f"{unit}_active": bool(p >= t) for unit, p, t in zip(AUS, aus, columns.au_thresholds, strict=True)}
    if "va" in scores:
        row |= {name: round(float(v), 4) for name, v in zip(("valence", "arousal"), scores["va"][place], strict=True)}
    return row


def write_rows(rows: list[Row], columns: Columns, target: Path) -> None:
    """Publish rows as CSV or Parquet, by the suffix."""
    table = pa.Table.from_pylist(rows, schema=columns.schema())
    with atomic_path(target) as temporary:
        if target.suffix == ".parquet":
            pq.write_table(table, temporary)
        else:
            pacsv.write_csv(table, temporary, pacsv.WriteOptions(quoting_style="needed"))
