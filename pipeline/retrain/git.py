"""Git as retraining needs it: every call names its folder, and an error is one line."""

import subprocess
from pathlib import Path

from pipeline.core.errors import MienError
from pipeline.run.git import run_git

NOBODY = ("-c", "user.name=mien", "-c", "user.email=mien@localhost")


def git(*arguments: str, folder: Path | None = None) -> str:
    """Standard output of a git command in `folder`; `MienError` with git's first line where it fails."""
    run = _run(arguments, folder)
    if run.returncode:
        told = (run.stderr or run.stdout).decode(errors="replace").strip().splitlines() or ["no message"]
        raise MienError(f"git {arguments[0]}: {told[0][:200]}")
    return run.stdout.decode().strip()


def succeeds(*arguments: str, folder: Path | None = None) -> bool:
    """Whether a git command ends with 0."""
    return _run(arguments, folder).returncode == 0


def text_at(commit: str, path: str) -> str | None:
    """A file as a commit has it; None where it has none."""
    run = _run(("show", f"{commit}:{path}"), None)
    return run.stdout.decode() if run.returncode == 0 else None


def _run(arguments: tuple[str, ...], folder: Path | None) -> subprocess.CompletedProcess[bytes]:
    try:
        return run_git(*arguments, folder=folder)
    except OSError as error:
        raise MienError(f"git: {error.strerror}; install git") from None


def commit(folder: Path, message: str) -> str:
    """Commit what is staged; returns the commit. Where git knows no author, it is `mien`."""
    known = succeeds("config", "user.email", folder=folder)
    git(*(() if known else NOBODY), "commit", "--no-verify", "-q", "-m", message, folder=folder)
    return git("rev-parse", "HEAD", folder=folder)
