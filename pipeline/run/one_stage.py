"""One stage by DVC, with all that it starts: what `mien repro` does for each, here or on a worker of a pool."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping

from prefect import State
from prefect.states import Completed, Failed

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
    """Ask DVC for one stage: `Completed`, `Skipped` or `Failed` with a message; the data tell whether it ran."""
    command = [dvc_command(), "--wait-for-lock", "repro", "--single-item", stage]
    code, shown = run_in_group(command, dict(environment), tell, with_errors=True)
    if code:
        return Failed(message=f"stage {stage} failed (exit {code}); its own message stands above")
    if "didn't change, skipping" in shown:
        return Completed(name=SKIPPED, message="DVC found it up to date", data=False)
    return Completed(message="reproduced", data=True)
