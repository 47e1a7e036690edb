"""One stage by DVC, with all that it starts: what `mien repro` does for each, here or on a worker of a pool."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping

from prefect import State
from prefect.states import Completed, Failed

from pipeline.core.files import lives
from pipeline.run.dag import dvc_command

HINTS = (  # what DVC says around each stage, and nobody needs
    "To track the changes with git",
    "git add ",
    "To enable auto staging",
    "dvc config core.autostage",
    "> python -m",
    "Updating lock file",
    "Generating lock file",
    "Use `dvc push`",
)

SKIPPED = "Skipped"  # a state's name
BUSY = "is busy, it is being blocked by:"  # DVC of a stage whose files another DVC reads or writes
BLOCKER = re.compile(r"\(PID (\d+)\)")
ATTEMPTS, POLL_SECONDS = 10, 1.0  # at a stage, each after the end of others at it; seconds between two looks at these

Say = Callable[[str], None]


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def run_in_group(
    command: list[str], extra_environment: dict[str, str] | None = None, tell: Say = say, with_errors: bool = False
) -> tuple[int, str]:
    """Run a command in its own process group and take the whole group down with it on any way out.

    A cancel would otherwise reach `dvc` and leave its training process on the GPU. Its standard output, `with_errors`
    its standard error too, is told as it comes, less DVC's hints after each stage, and given back with the exit code.
    """
    environment = {**os.environ, **(extra_environment or {})}
    errors = subprocess.STDOUT if with_errors else None
    process = subprocess.Popen(
        command, start_new_session=True, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
    )
    assert process.stdout
    shown = []
    try:
        for line in process.stdout:
            if line.strip() and not line.strip().startswith(HINTS):
                tell(line.rstrip())
            shown.append(line)
        return process.wait(), "".join(shown)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def reproduce(stage: str, environment: Mapping[str, str], tell: Say = say) -> State:
    """Ask DVC for one stage: `Completed`, `Skipped` or `Failed` with a message; the data tell whether it ran.

    Where another DVC is at work on the stage's files, such as one whose `mien repro` was killed, its end is awaited.
    """
    command = [dvc_command(), "--wait-for-lock", "repro", "--single-item", stage]
    for _ in range(ATTEMPTS):
        code, shown = run_in_group(command, dict(environment), tell, with_errors=True)
        others = [int(number) for number in BLOCKER.findall(shown)] if code and BUSY in shown else []
        if not others:
            break
        tell(f"{stage}: waiting for {', '.join(f'process {number}' for number in others)}")
        time.sleep(POLL_SECONDS)
        while any(map(lives, others)):
            time.sleep(POLL_SECONDS)
    if code:
        return Failed(message=f"stage {stage} failed (exit {code}); its own message stands above")
    if "didn't change, skipping" in shown:
        return Completed(name=SKIPPED, message="DVC found it up to date", data=False)
    return Completed(message="reproduced", data=True)
