"""Training curves as CSV: what training writes, DVC plots and the report reads."""

import csv
import io
from pathlib import Path

from pipeline.core.files import atomic_write_text


def write_curve(path: Path, history: list[dict[str, float]]) -> None:
    """One row a logged step, columns in the order they first appear, empty where a row lacks one."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    atomic_write_text(path, text.getvalue())


def read_curve(path: Path) -> list[dict[str, float]]:
    """Rows of a curve CSV, empty cells left out."""
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
