"""What was predicted, as rows of a table: one for each face of a frame, or one that says there is none."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipeline.abaw.tracks import AUS
from pipeline.core.errors import MienError
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


class RowWriter:
    """Rows as CSV or Parquet, by the suffix, file after file: what was finished stays, however a run ends.

    A .csv has each file's rows appended and synced in one go; a .parquet is written whole when the writer is closed.
    With `resume` a .csv goes on: `done` are the files that it has; its last one may be half, so it is taken out.
    """

    def __init__(self, target: Path, schema: pa.Schema, resume: bool = False) -> None:
        self.target, self.schema = target, schema
        self._kept: list[Row] = []
        self.count, self.done = 0, frozenset[str]()
        if resume and target.is_file():
            table = _finished(target, schema)
            self.count, self.done = len(table), frozenset(table["source"].to_pylist())
            with atomic_path(target) as temporary:
                temporary.write_bytes(_as_csv(table, header=True))

    @property
    def appends(self) -> bool:
        """Whether rows are on disk as soon as they are written."""
        return self.target.suffix.lower() == ".csv"

    def write(self, rows: list[Row]) -> None:
        """All rows of one file; none leaves the table as it is."""
        if rows and self.appends:
            self._append(rows, first=not self.count)
        elif rows:
            self._kept += rows
        self.count += len(rows)

    def _append(self, rows: list[Row], first: bool) -> None:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        with self.target.open("wb" if first else "ab") as file:
            file.write(_as_csv(pa.Table.from_pylist(rows, schema=self.schema), header=first))
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Publish what is not on disk yet."""
        if self._kept:
            with atomic_path(self.target) as temporary:
                pq.write_table(pa.Table.from_pylist(self._kept, schema=self.schema), temporary)


def _as_csv(table: pa.Table, header: bool) -> bytes:
    out = io.BytesIO()
    pacsv.write_csv(table, out, pacsv.WriteOptions(include_header=header, quoting_style="needed"))
    return out.getvalue()


def _finished(path: Path, schema: pa.Schema) -> pa.Table:
    """The rows of a .csv that a run has left, without those of its last file."""
    header = _as_csv(schema.empty_table(), header=True)
    with path.open("rb") as file:
        if file.readline() != header:
            raise MienError(f"{path}: has other columns than these models give; write to another --output", exit_code=2)
    text = pa.string()  # numbers are read when the last file is off: it may end within one
    table = pacsv.read_csv(
        path,
        parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda _: "skip"),
        convert_options=pacsv.ConvertOptions(
            column_types={name: text for name in schema.names}, strings_can_be_null=True, null_values=[""]
        ),
    )
    sources = table["source"].to_pylist()
    return table.slice(0, sources.index(sources[-1]) if sources else 0).cast(schema)
