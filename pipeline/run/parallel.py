"""Work spread over processes and threads: results in the order of the items, whatever the number of workers."""

import math
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from pipeline.core.errors import MienError
from pipeline.run.cluster import Facts, cluster_results, scheduler_address
from pipeline.run.progress import Progress

Task = TypeVar("Task")
Result = TypeVar("Result")

CPU_QUOTA = Path("/", "sys", "fs", "cgroup", "cpu.max")  # of cgroup v2: microseconds, and of how many


def available_cores() -> int:
    """Cores that this process gets: those it may run on, and no more than its container's quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or `max` for a quota: not bounded
        return cores


def worker_count() -> int:
    """Processes to use: `MIEN_WORKERS`, else the cores this process gets. Never a param: it changes no result."""
    wanted = os.environ.get("MIEN_WORKERS", "")
    if not wanted:
        return available_cores()
    if not wanted.isdigit() or not int(wanted):
        raise MienError(f"MIEN_WORKERS is {wanted!r}; give a number of processes, 1 or more", exit_code=2)
    return int(wanted)


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    label: str,
    facts: Facts | None = None,
    workers: int | None = None,
) -> Iterator[Result]:
    """Yield `function(task)` for each task, in order, and show how far it is.

    By `workers` processes, else as many as there are to use; tasks with `facts` go to the cluster that `MIEN_DASK`
    names, to the workers that have what these tell.
    """
    workers = min(worker_count() if workers is None else workers, len(tasks))
    with Progress(label, len(tasks), "items") as progress:
        remote = cluster_results(function, tasks, facts) if facts and tasks and scheduler_address() else None
        for result in remote or _results(function, tasks, workers):
            progress.advance()
            yield result


def _results(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    if workers <= 1:
        yield from map(function, tasks)
        return
    # spawn: forked children would inherit the threads of torch, ONNX and MLflow in an unknown state
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        try:
            yield from pool.map(function, tasks)
        except BrokenProcessPool:
            raise MienError(
                "a worker process died (out of memory?); run again to go on, MIEN_WORKERS=1 needs less"
            ) from None


def end_with_parent() -> None:
    """In a worker: leave as soon as its parent is gone, however that was killed, whatever is being worked on."""
    parent = multiprocessing.parent_process()
    assert parent

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()


def prefetched(items: Iterator[Result]) -> Generator[Result]:
    """The same items in the same order, the next one made by a thread while the caller works on the last."""
    end = object()
    with ThreadPoolExecutor(1, "prefetch") as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]
