"""How long the stages of a graph are expected to take here, and how far a run over it is.

Known are the seconds of each stage's last run in this workspace, by a run over the graph or by `dvc repro` alone; for
the demo, which a newcomer has not run yet, those of the machine that made its lock, scaled by a short piece of work.
"""

import contextlib
import json
import sys
import threading
import time
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from pipeline.core.errors import MienError
from pipeline.core.files import write_json
from pipeline.core.params import read_value
from pipeline.core.paths import RUNS
from pipeline.run.environment import STATE, read_kept
from pipeline.run.schedule import Order, makespan

DEMO = Path("data/raw/demo")
REFERENCE = Path("demo/seconds.json")  # written by `python -m bench.pace`
TOOK = STATE / "seconds.json"  # of each stage when a run over the graph last ran it
OVERHEAD_SECONDS = 2.0  # of DVC around a stage that it ran alone


def probe() -> float:
    """Seconds of a fixed piece of work on one core: the best of five."""
    work, best = bytes(range(256)) * 4096, float("inf")
    for _ in range(5):
        began = time.perf_counter()
        zlib.compress(work, 9)
        best = min(best, time.perf_counter() - began)
    return best


def expected_seconds(stages: Collection[str]) -> dict[str, float]:
    """Seconds by stage, of those that are known."""
    found = _of_the_demo() if _is_demo() else {}
    for stage in stages:
        if seconds := read_kept(RUNS / stage.rpartition(":")[2] / "run.json").get("seconds"):
            found[stage] = seconds + OVERHEAD_SECONDS
    return {stage: seconds for stage, seconds in (found | read_kept(TOOK)).items() if stage in stages}


def _is_demo() -> bool:
    """Whether the project's data are the demo's; params that cannot be read are for `check_params` to tell."""
    try:
        return Path(read_value("data.root")) == DEMO
    except MienError:
        return False


def _of_the_demo() -> dict[str, float]:
    if not REFERENCE.is_file():
        return {}
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    factor = probe() / reference["probe_seconds"]
    return {stage: factor * seconds for stage, seconds in reference["stages"].items()}


def in_words(seconds: float) -> str:
    """`40 s`, `9 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Way:
    """How far a run over the graph is: a bar on a terminal, a line a stage elsewhere; what stages print goes above it.

    `order` and `seconds` as in `Ready`; a stage that `seconds` lacks is not known, one that will not run has 0.
    """

    def __init__(self, order: Order, seconds: Mapping[str, float], jobs: int) -> None:
        self.order, self.seconds, self.jobs = order, dict(seconds), jobs
        self._is_known = 2 * sum(stage in seconds for stage in order) >= len(order)
        self._began: dict[str, float] = {}
        self._ended: set[str] = set()
        self._took: dict[str, float] = {}
        self._spent = self._planned = 0.0
        self._lock = threading.Lock()
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        self._bar: Bar | None = None
        if sys.stdout.isatty():
            columns = [BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")]
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("", total=len(order))

    def __enter__(self) -> "Way":
        side = f", up to {self.jobs} side by side" if self.jobs > 1 else ""
        self.say(f"{len(self.order)} stages{side}: {self._estimate()}")
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        with contextlib.suppress(OSError):
            write_json(TOOK, read_kept(TOOK) | self._took)

    def say(self, line: str) -> None:
        """A line of a stage, above the bar."""
        with self._lock:
            self._console.print(line)

    def begin(self, stage: str) -> None:
        """A stage has started."""
        self._began[stage] = time.monotonic()
        self._show()

    def end(self, stage: str, ran: bool) -> None:
        """A stage has ended; one that was skipped tells nothing of this machine's pace."""
        took = time.monotonic() - self._began.pop(stage)
        self._ended.add(stage)
        if ran:
            self._took[stage] = round(took, 1)
            self._spent += took
            self._planned += self.seconds.get(stage, took)
            if not self._bar:
                left = f"; {self._left()}" if len(self._ended) < len(self.order) else ""
                self.say(f"[{len(self._ended)}/{len(self.order)}] {stage}: {in_words(took)}{left}")
        self._show()

    def _estimate(self) -> str:
        if self._is_known:
            return f"about {in_words(self._makespan())} here"
        return "how long they take is not known yet; `mien plan` measures it"

    def _left(self) -> str:
        return f"about {in_words(self._makespan())} left" if self._is_known else "time left not known"

    def _makespan(self) -> float:
        """Of the stages that are left, those that run now by what is left of them, at the pace so far."""
        pace, now = (self._spent / self._planned if self._planned else 1.0), time.monotonic()
        left = {stage: names for stage, names in self.order.items() if stage not in self._ended}
        seconds = {stage: pace * self.seconds.get(stage, 0.0) for stage in left}
        for stage, began in self._began.items():
            seconds[stage] = max(0.0, seconds[stage] - (now - began))
        order = {stage: [name for name in names if name in left] for stage, names in left.items()}
        return makespan(order, seconds, self.jobs)

    def _show(self) -> None:
        if self._bar:
            description = f"{', '.join(self._began) or 'done'}; {self._left()}"
            self._bar.update(self._task, completed=len(self._ended), description=description)
