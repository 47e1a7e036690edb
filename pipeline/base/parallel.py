"""Work spread over processes: one item a task, results in the order of the items, whatever the number of workers."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.errors import MienError

Task = TypeVar("Task")
Result = TypeVar("Result")


def worker_count() -> int:
    """Processes to use: `MIEN_WORKERS`, else the cores this process may run on. Never a param: it changes no result."""
    return int(os.environ.get("MIEN_WORKERS", 0)) or len(os.sched_getaffinity(0))


def run_tasks(function: Callable[[Task], Result], tasks: Sequence[Task], label: str) -> Iterator[Result]:
    """Yield `function(task)` for each task, in order, with a progress bar on a terminal and plain lines elsewhere."""
    workers = min(worker_count(), len(tasks))
    with _progress() as progress:
        bar = progress.add_task(label, total=len(tasks))
        for done, result in enumerate(_results(function, tasks, workers), 1):
            progress.update(bar, completed=done)
            if not progress.console.is_terminal and (done == len(tasks) or done % max(1, len(tasks) // 4) == 0):
                print(f"{label}: {done}/{len(tasks)}", flush=True)
            yield result


def _results(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    if workers <= 1:
        yield from map(function, tasks)
        return
    # spawn: forked children would inherit the threads of torch, ONNX and MLflow in an unknown state
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(function, tasks)
        except BrokenProcessPool:
            raise MienError(
                "a worker process died (out of memory?); run again to go on, MIEN_WORKERS=1 needs less"
            ) from None


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, disable=not os.isatty(1))
