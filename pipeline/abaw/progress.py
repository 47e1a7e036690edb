"""Progress of long work: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

LINE_SECONDS = 10.0


class Progress:
    """Counts files and bytes from several threads and shows them on standard error."""

    def __init__(self, what: str, files: int, size: int) -> None:
        self.what, self.files, self.size = what, files, size
        self.done_files = self.done_bytes = 0
        self._lock = threading.Lock()
        self._started = self._told = time.monotonic()
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
            self._bar = Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(what, total=size)

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, files: int, size: int) -> None:
        """Count finished files and their bytes; shown at most some times a second."""
        with self._lock:
            self.done_files += files
            self.done_bytes += size
            now = time.monotonic()
            if now - self._told < (0.2 if self._bar else LINE_SECONDS):
                return
            self._told = now
        if self._bar:
            description = f"{self.what} {self.done_files}/{self.files} files"
            self._bar.update(self._task, completed=self.done_bytes, description=description)
        else:
            print(self._line(now), file=sys.stderr)

    def _line(self, now: float) -> str:
        rate = self.done_files / max(now - self._started, 1e-9)
        left = (self.files - self.done_files) / max(rate, 1e-9)
        return f"{self.what}: {self.done_files}/{self.files} files, {rate:,.0f} files/s, {left:.0f} s left"
