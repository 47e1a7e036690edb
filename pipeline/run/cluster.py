"""Tasks on the workers of a Dask cluster: `MIEN_DASK` names its scheduler.

Workers are started in the project's folder on a file system that all machines share, one thread each: a task writes its
shard into `.work/` as it does here, and returns a description of it. Before the first task each worker says what it has
(code, weights, data); one that has something else, or does not see this `.work/`, is refused by name. A worker that
dies costs its task, which another one takes up.
"""

import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pipeline.core.errors import MienError
from pipeline.core.files import atomic_write_text

Task = TypeVar("Task")
Result = TypeVar("Result")
Facts = Callable[[], Mapping[str, str]]

ADDRESS = "MIEN_DASK"
MEETING = Path(".work", "cluster")
CONNECT_SECONDS, LOOK_SECONDS = 30, 2


def scheduler_address() -> str:
    """Where the scheduler listens; empty where there is none. Never a param: it changes no result."""
    return os.environ.get(ADDRESS, "")


def cluster_results(function: Callable[[Task], Result], tasks: Sequence[Task], facts: Facts) -> Iterator[Result]:
    """`function(task)` of each task, in order, by workers whose `facts` are those of this process."""
    distributed = _library()
    address = scheduler_address()
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:  # also its time-out
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise MienError(f"{ADDRESS} is {address!r}: no scheduler answers ({first}); start one or unset it") from None
    with client:
        workers = accepted(client, facts)
        futures = client.map(function, tasks, workers=workers, allow_other_workers=False, pure=False)
        for future in futures:
            yield _result(client, future, workers)


def _library() -> Any:
    try:
        import distributed  # an extra: few have a cluster
    except ImportError:
        raise MienError(f"{ADDRESS} is set and Dask is not installed; pip install 'mien[dask]'") from None
    return distributed


def accepted(client: Any, facts: Facts) -> list[str]:
    """Addresses of the workers that may be used; the others are told, each with its reason."""
    threads = client.nthreads()
    token = MEETING / uuid.uuid4().hex
    atomic_write_text(token, "")
    try:
        said = client.run(_look, token, facts, on_error="return")
    finally:
        token.unlink()
    expected = dict(facts())
    refused = {address: _refusal(said.get(address), expected, threads[address]) for address in sorted(threads)}
    for address, why in refused.items():
        if why:
            print(f"{ADDRESS}: worker {address} is refused: {why}", file=sys.stderr, flush=True)
    workers = [address for address, why in refused.items() if not why]
    if not workers:
        raise MienError(f"{ADDRESS} is {scheduler_address()!r}: none of its {len(refused)} workers can be used")
    return workers


def _look(token: Path, facts: Facts) -> dict[str, str] | str:
    """On a worker: what it has, or why that cannot be told."""
    if not token.exists():
        return f"it does not see the .work/ of this project; start it in {Path.cwd().name}/ on the shared file system"
    try:
        return dict(facts())
    except (MienError, OSError) as error:
        return str(error)


def _refusal(said: Any, expected: dict[str, str], threads: int) -> str:
    """Why a worker is not used; empty where it is."""
    if threads != 1:
        return f"it has {threads} threads; start it with --nthreads 1"
    if isinstance(said, str):
        return said
    if not isinstance(said, dict):
        return f"it cannot run this code ({type(said).__name__}: {said})"
    other = [name for name, value in expected.items() if said.get(name) != value]
    return f"its {other[0]} is not the one here; bring both to the same state" if other else ""


def _result(client: Any, future: Any, workers: list[str]) -> Any:
    """What a task gave, waited for as long as a worker is there that may do it."""
    from distributed import KilledWorker

    while True:
        try:
            return future.result(timeout=LOOK_SECONDS)
        except KilledWorker:
            raise MienError(f"{ADDRESS}: one task killed several workers (out of memory?); see their logs") from None
        except TimeoutError:
            if not set(workers) & set(client.nthreads()):
                raise MienError(f"{ADDRESS}: all workers have died; run again to go on with others") from None
