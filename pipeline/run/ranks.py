"""A training on several devices: the stage starts itself anew, a process a device, and waits for them.

torch's own launcher (`torchrun`) does it. The processes are ranks: each trains on its rows of every batch
(`pipeline/train/distributed.py`), and rank 0 alone tells, judges and writes. When one dies the others are ended and the
stage fails in one line; the next run goes on from the last checkpoint.
"""

import contextlib
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.core.errors import MienError
from pipeline.run.command import TOLD
from pipeline.run.parallel import available_cores

ASKED = "MIEN_PROCESSES"
GRACE_SECONDS = 60
POLL_SECONDS = 0.2


class HelperDone(BaseException):
    """A rank that only helps has nothing left to do: rank 0 writes what came of it."""


def ranks() -> int:
    """Processes that train together, this one among them; 1 where it was not started by the launcher."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def is_helper() -> bool:
    """Whether another process tells, judges and writes in place of this one."""
    return ranks() > 1 and os.environ["RANK"] != "0"


def stand_alone() -> None:
    """Be an ordinary process from now on: the training cannot be split."""
    del os.environ["TORCHELASTIC_RUN_ID"]


def process_count() -> int:
    """Processes to train with: `MIEN_PROCESSES`, else one a GPU. Never a param: what comes of it stays the same."""
    import torch  # not above: tracking asks for the rank in stages that need no torch

    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = os.environ.get(ASKED, "")
    if not wanted:
        return max(1, devices)
    if not wanted.isdigit() or not int(wanted):
        raise MienError(f"{ASKED} is {wanted!r}; give a number of processes, 1 or more", exit_code=2)
    if devices and int(wanted) > devices:
        raise MienError(f"{ASKED} is {wanted}, and there are {devices} GPUs; give no more than these", exit_code=2)
    return int(wanted)


def on_ranks(main: Callable[[], int | None]) -> int | None:
    """Run a training stage: as one process, or by itself started anew as a process for each device."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _as_rank(main)
    count = process_count()
    return main() if count == 1 else _launch(count)


def _as_rank(main: Callable[[], int | None]) -> int | None:
    import torch

    threading.Thread(target=_end_with_launcher, daemon=True, name="launcher").start()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        return main()
    except HelperDone:
        return 0
    except RuntimeError as error:
        if not _is_lost_peer(error):
            raise
        time.sleep(GRACE_SECONDS)  # the launcher has seen which process died, tells of that one and ends this one
        return 1


def _is_lost_peer(error: RuntimeError) -> bool:
    """Whether an exchange failed since another rank is gone: NCCL has a class for it, Gloo a plain error."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or "gloo" in str(error).lower()


def _end_with_launcher() -> None:
    """Leave as soon as the launcher is gone, however it was killed: it started this process in a session of its own."""
    launcher = os.getppid()
    while os.getppid() == launcher:  # also a killed one that nobody has waited for yet is no parent any more
        time.sleep(POLL_SECONDS)
    os._exit(1)


def _launch(count: int) -> int:
    """This command as `count` ranks; their first error is told by this process, once."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    debug = bool(os.environ.get("MIEN_DEBUG"))
    logging.getLogger("torch.distributed").setLevel(logging.INFO if debug else logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // count)))
    with tempfile.TemporaryDirectory() as folder, _environment(TOLD, str(place := Path(folder, "error"))):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            run_id=f"mien-{os.getpid()}",
            max_restarts=0,  # the next run goes on from a checkpoint; an error of params or data would come again
            logs_specs=DefaultLogsSpecs(log_dir=folder, local_ranks_filter=None if debug else {0}),
        )
        try:
            elastic_launch(config, sys.executable)(*sys.orig_argv[1:])
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            raise _told(place, rank, failure.exitcode, count) from None
        except SignalException as stopped:
            return 128 + int(stopped.sigval)
    return 0


def _told(place: Path, rank: int, code: int, count: int) -> MienError:
    """The error that a rank left, or how it ended."""
    with contextlib.suppress(OSError):
        return MienError(place.read_text(encoding="utf-8"), exit_code=max(1, code))
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return MienError(
        f"process {rank} of the training's {count} {how}; run again, it goes on from its last checkpoint "
        "(MIEN_PROCESSES=1: on one device)"
    )


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable of the environment for a while."""
    former = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if former is not None:
            os.environ[name] = former
