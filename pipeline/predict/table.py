"""What was predicted, as rows of a table: one for each face of a frame, or one that says there is none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipeline.abaw.tracks import AUS, EXPRESSIONS
from pipeline.core.files import atomic_path
from pipeline.predict.media import Seen
from pipeline.tables.scores import Tasks


def rows_of(seen: list[Seen], scores: Tasks, thresholds: Sequence[float]) -> list[dict[str, Any]]:
    """Plain rows for a table: where, whether there is a face, its box, and every score."""
    rows = []
    place = 0
    for item in seen:
        row: dict[str, Any] = {
            "source": item.source.as_posix(),
            "frame": item.frame,
            "seconds": round(item.seconds, 3),
            "face": item.number,
            "found": item.face is not None,
        }
        if item.face:
            row |= dict(zip(("x1", "y1", "x2", "y2"), (round(float(v), 1) for v in item.face.box), strict=True))
            row |= {"detection": round(item.face.score, 4)} | _scores_row(scores, place, thresholds)
            place += 1
        rows.append(row)
    return rows


def _scores_row(scores: Tasks, place: int, thresholds: Sequence[float]) -> dict[str, Any]:
    expression, aus, va = (scores[task][place] for task in ("expression", "aus", "va"))
    row: dict[str, Any] = {"expression": EXPRESSIONS[int(expression.argmax())]}
    row |= {f"p_{name}": round(float(p), 4) for name, p in zip(EXPRESSIONS, expression, strict=True)}
    row |= {unit: round(float(p), 4) for unit, p in zip(AUS, aus, strict=True)}
    row |= {f"{unit}_active": bool(p >= t) for unit, p, t in zip(AUS, aus, thresholds, strict=True)}
    return row | {"valence": round(float(va[0]), 4), "arousal": round(float(va[1]), 4)}


def table_schema() -> pa.Schema:
    """Columns of the output, whatever was found."""
    number = pa.float64()
    columns: list[tuple[str, pa.DataType]] = [("source", pa.string()), ("frame", pa.int64()), ("seconds", number)]
    columns += [("face", pa.int64()), ("found", pa.bool_()), *((name, number) for name in ("x1", "y1", "x2", "y2"))]
    columns += [("detection", number), ("expression", pa.string()), *((f"p_{name}", number) for name in EXPRESSIONS)]
    columns += [*((unit, number) for unit in AUS), *((f"{unit}_active", pa.bool_()) for unit in AUS)]
    return pa.schema([*columns, ("valence", number), ("arousal", number)])


def write_rows(rows: list[dict[str, Any]], target: Path) -> None:
    """Publish rows as CSV or Parquet, by the suffix."""
    table = pa.Table.from_pylist(rows, schema=table_schema())
    with atomic_path(target) as temporary:
        if target.suffix == ".parquet":
            pq.write_table(table, temporary)
        else:
            pacsv.write_csv(table, temporary, pacsv.WriteOptions(quoting_style="needed"))
