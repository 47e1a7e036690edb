"""A command with all that it starts, ended at once on Ctrl-C or SIGTERM.

Prefect waits for its threads, its threads wait for `dvc`, `dvc` for a training: a signal to the first ends none of the
others. So the flow runs as a child in a session of its own, and whoever started it ends the whole tree.
"""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import psutil

PATIENCE_SECONDS = 3.0
SIGNALLED = 128  # and the signal: the exit code of what one has ended


class Stopped(Exception):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop(number: int, _: FrameType | None) -> None:
    raise Stopped(number)


def run_supervised(
    command: list[str],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    output: int | None = None,
) -> int:
    """Run a command, in `folder`, and give its exit code; on SIGINT or SIGTERM end its whole tree and give 128 + the
    signal. What it prints goes to the file descriptor `output`, where one is given.

    A second signal, while the tree is given its seconds to end, kills it.
    """
    # in a session of its own: the terminal's Ctrl-C reaches this process alone
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, start_new_session=True)
    former = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return process.wait()
    except Stopped as stopped:
        print("stopping: what is finished is kept, the next run goes on from there", file=sys.stderr, flush=True)
        end_tree(process.pid)
        process.wait()
        return SIGNALLED + stopped.number
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def end_tree(pid: int) -> None:
    """End a process and all below it, whatever sessions they opened: politely first, then not."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    alive = tree
    with contextlib.suppress(Stopped):
        _signal(tree, signal.SIGTERM)
        _, alive = psutil.wait_procs(tree, timeout=PATIENCE_SECONDS)
    _signal(alive, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=PATIENCE_SECONDS)


def _signal(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
