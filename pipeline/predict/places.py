"""Where results go, refused before the first frame is decoded if they could not be written there."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import MienError
from pipeline.predict.writer import CSV, LINES, PARQUET


@dataclass(frozen=True)
class Places:
    """The table (None: JSON lines on standard output), the folder of annotated copies and that of timelines.

    `json_lines`: the table is JSON lines whatever its suffix; `resume`: a table that is there goes on.
    """

    table: Path | None
    overlay: Path | None = None
    timeline: Path | None = None
    json_lines: bool = False
    resume: bool = False

    def check(self, source: Path) -> None:
        """`MienError` where something could not be written; `source` is what is predicted."""
        self._check_table()
        if self.overlay:
            if self.overlay.resolve() == source.resolve():
                mend = "holds the pictures themselves; give another folder"
                raise MienError(f"--overlay {self.overlay}: {mend}", exit_code=2)
            check_folder(self.overlay, "--overlay")
        if self.timeline:
            check_folder(self.timeline, "--timeline")

    def _check_table(self) -> None:
        table = self.table
        if table is None:
            if self.resume:
                raise MienError("--resume goes on with a table on disk; name it with --output", exit_code=2)
            return
        suffix = LINES if self.json_lines else table.suffix.lower()
        if suffix not in (CSV, LINES, PARQUET) or table.is_dir():
            raise MienError(f"--output {table}: give a .csv, .jsonl or .parquet file", exit_code=2)
        check_file(table)
        if self.resume and suffix == PARQUET:
            mend = "a .parquet is written at the end"
            raise MienError(f"--resume goes on with a .csv or JSON lines; {mend}", exit_code=2)
        check_folder(table.parent, "--output")


def check_file(table: Path) -> None:
    """Refuse a file that is there and may not be written; its bytes stay."""
    if not table.exists():
        return
    try:
        with table.open("ab"):  # tried: what the mode bits say does not hold for everybody, nor everywhere
            pass
    except OSError:
        raise MienError(f"--output {table}: may not be written; choose another", exit_code=2) from None


def check_folder(path: Path, option: str) -> None:
    """Refuse a folder that may not be written, or that could not be made."""
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=there):  # what the mode bits say does not hold on every file system
            pass
    except OSError:
        why = "may not be written" if there.is_dir() else "is no folder"
        raise MienError(f"{option}: {there} {why}; choose another", exit_code=2) from None
