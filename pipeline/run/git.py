"""Git as all of Mien calls it: one process, in its folder, whoever has started this program."""

import os
import subprocess
from pathlib import Path

BOUND = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # set in a hook, they would point every call at one repository
PATIENCE_SECONDS = 30.0


def run_git(
    *arguments: str, folder: Path | None = None, stdin: bytes | None = None, timeout: float | None = None
) -> subprocess.CompletedProcess[bytes]:
    """A git command in `folder` that has ended, whatever its exit code; `OSError` where there is no git."""
    environment = {name: value for name, value in os.environ.items() if name not in BOUND}
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, input=stdin, capture_output=True, timeout=timeout)


def git(*arguments: str) -> str:
    """Output of a git command, empty where there is no repository or no git."""
    try:
        run = run_git(*arguments, timeout=PATIENCE_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.decode(errors="replace").strip() if run.returncode == 0 else ""
