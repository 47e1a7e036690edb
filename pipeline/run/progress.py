"""Progress of long work, on standard error: a bar with rate and time left on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_SECONDS = 30.0
BAR_SECONDS = 0.2


class Progress:
    """Counts what is done, from any thread, and shows it: a line every tenth of the way or half a minute.

    `done` is what an earlier run had finished: it counts for the way and not for the rate. `brief` work has
    a line every half minute alone.
    """

    def __init__(self, label: str, total: int, unit: str, done: int = 0, brief: bool = False) -> None:
        self.label, self.total, self.unit, self.done, self.brief = label, total, unit, done, brief
        self._first = self._shown = done
        self._lock = threading.Lock()
        self._started = self._shown_at = time.monotonic()
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(label, total=total, completed=done)

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more; `note` says how it goes (a loss, a score)."""
        with self._lock:
            self.done += count
            now = time.monotonic()
            if not self._is_due(now):
                return
            self._shown, self._shown_at = self.done, now
        if self._bar:
            rate = f"{self._rate(now):,.1f} {self.unit} a second"
            description = ", ".join(part for part in (f"{self.label}: {rate}", note) if part)
            self._bar.update(self._task, completed=self.done, description=description)
        else:
            print(self._line(now, note), file=sys.stderr, flush=True)

    def _is_due(self, now: float) -> bool:
        if self._bar:
            return now - self._shown_at >= BAR_SECONDS or self.done >= self.total
        tenth = (self.done - self._shown) * 10 >= self.total or self.done == self.total
        return (tenth and not self.brief) or now - self._shown_at >= LINE_SECONDS

    def _rate(self, now: float) -> float:
        return (self.done - self._first) / max(now - self._started, 1e-9)

    def _line(self, now: float, note: str) -> str:
        rate = self._rate(now)
        left = (self.total - self.done) / max(rate, 1e-9)
        way = f"{self.label}: {self.done:,}/{self.total:,} {self.unit}"
        return ", ".join(part for part in (way, note, f"{rate:,.1f} a second", f"{left:.0f} s left") if part)
