"""Rows on their way out: CSV, JSON lines or Parquet, file after file."""

import io
import itertools
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipeline.core.errors import MienError
from pipeline.core.files import atomic_path
from pipeline.predict.table import Row

PART_ROWS = 4096
CSV, LINES, PARQUET = ".csv", ".jsonl", ".parquet"


class RowWriter:
    """Rows as CSV, JSON lines or Parquet, file after file: what was finished stays, however a run ends.

    The suffix of `target` says which, or `json_lines`; an open stream takes JSON lines. Each file's rows are appended
    and synced; a .parquet is written whole when the writer is closed. With `resume` a table on disk goes on:
    `done` are the files that it has; its last one may be half, so it is taken out.
    """

    def __init__(
        self, target: Path | BinaryIO, schema: pa.Schema, resume: bool = False, *, json_lines: bool = False
    ) -> None:
        self.target = target if isinstance(target, Path) else None
        self._stream = None if isinstance(target, Path) else target
        self.schema, self.name = schema, str(self.target or "standard output")
        self.form = self.target.suffix.lower() if self.target and not json_lines else LINES
        self._kept: list[pa.Table] = []
        self.count, self.done = 0, frozenset[str]()
        if resume and self.target and self.target.is_file():
            finished = _finished_lines if self.form == LINES else _finished_csv
            rows = finished(self.target, schema)
            self.count, self.done = len(rows), frozenset(row["source"] for row in rows)
            with atomic_path(self.target) as temporary:
                temporary.write_bytes(self._encoded(rows, first=True))

    @property
    def appends(self) -> bool:
        """Whether rows are on disk as soon as they are written."""
        return self.target is not None and self.form != PARQUET

    def write(self, rows: Iterable[Row]) -> None:
        """All rows of one file, a part at a time; none leaves the table as it is."""
        left = iter(rows)
        while part := list(itertools.islice(left, PART_ROWS)):
            if self._stream:
                self._stream.write(self._encoded(part, first=False))
                self._stream.flush()
            elif self.appends:
                self._append(part)
            else:
                self._kept.append(pa.Table.from_pylist(part, schema=self.schema))
            self.count += len(part)

    def _append(self, rows: list[Row]) -> None:
        assert self.target
        self.target.parent.mkdir(parents=True, exist_ok=True)
        with self.target.open("ab" if self.count else "wb") as file:
            file.write(self._encoded(rows, first=not self.count))
            file.flush()
            os.fsync(file.fileno())

    def _encoded(self, rows: list[Row], first: bool) -> bytes:
        if self.form == LINES:
            return as_lines(rows, self.schema)
        return _as_csv(pa.Table.from_pylist(rows, schema=self.schema), header=first)

    def close(self) -> None:
        """Publish what is not on disk yet."""
        if self._kept and self.target:
            with atomic_path(self.target) as temporary:
                pq.write_table(pa.concat_tables(self._kept), temporary)


def as_lines(rows: Iterable[Row], schema: pa.Schema) -> bytes:
    """A JSON object a row, with every column of the schema in its order: what a row has not is null."""
    objects = ({name: _or_null(row.get(name)) for name in schema.names} for row in rows)
    return "".join(json.dumps(each, allow_nan=False) + "\n" for each in objects).encode()


def _or_null(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _as_csv(table: pa.Table, header: bool) -> bytes:
    out = io.BytesIO()
    pacsv.write_csv(table, out, pacsv.WriteOptions(include_header=header, quoting_style="needed"))
    return out.getvalue()


def _refuse_columns(path: Path) -> MienError:
    return MienError(f"{path}: has other columns than these models give; write to another --output", exit_code=2)


def _finished_csv(path: Path, schema: pa.Schema) -> list[Row]:
    """The rows of a .csv that a run has left, without those of its last file."""
    header = _as_csv(schema.empty_table(), header=True)
    data = path.read_bytes()
    if not data.startswith(header):
        raise _refuse_columns(path)
    whole = io.BytesIO(data.decode(errors="replace").encode())  # it may end within a letter of several bytes
    text = pa.string()  # numbers are read when the last file is off: it may end within one
    try:
        table = pacsv.read_csv(
            whole,
            parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda _: "skip"),
            convert_options=pacsv.ConvertOptions(
                column_types={name: text for name in schema.names}, strings_can_be_null=True, null_values=[""]
            ),
        )
        sources = table["source"].to_pylist()
        return table.slice(0, sources.index(sources[-1]) if sources else 0).cast(schema).to_pylist()
    except pa.ArrowInvalid:
        raise MienError(f"{path}: is damaged and not gone on with; write to another --output", exit_code=2) from None


def _finished_lines(path: Path, schema: pa.Schema) -> list[Row]:
    """The rows of JSON lines that a run has left, without those of its last file."""
    *whole, _ = path.read_bytes().split(b"\n")  # what stands behind the last line end is half a line, or nothing
    try:
        rows = [json.loads(line) for line in whole]
    except ValueError:
        raise _refuse_columns(path) from None
    if any(not isinstance(row, dict) or list(row) != schema.names for row in rows):
        raise _refuse_columns(path)
    return [row for row in rows if row["source"] != rows[-1]["source"]]
