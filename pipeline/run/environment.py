"""Process-wide settings that every command starts with: no telemetry, our own places for state, quiet libraries."""

import contextlib
import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.core.errors import MienError

STATE = Path(".mien")  # MLflow's database and artifacts, Prefect's home, undelivered runs: never tracked
EXPERIMENTS = Path(".dvc", "tmp", "exps")  # where `dvc exp run --temp` copies a project to
POOL = "MIEN_POOL"  # of `mien repro` to the flow that it starts: a work pool
TITLE = "MIEN_FLOW_TITLE"  # what a flow run is for, from whoever starts it
LOCAL = ("localhost", "127.0.0.1")
NO_TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def prepare() -> None:
    """Apply the defaults; what the user has set stays. Makes the folder that the defaults name."""
    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
    for name in ("NO_PROXY", "no_proxy"):  # servers of ours on this machine are not reached through a proxy
        others = [place for place in os.environ.get(name, "").split(",") if place and place not in LOCAL]
        os.environ[name] = ",".join([*others, *LOCAL])
    with contextlib.suppress(OSError):  # where nothing can be written, whoever needs the folder says so
        make_state()
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")  # its 20 are few on a busy machine
    os.environ.setdefault("PREFECT_HOME", str(STATE.resolve() / "prefect"))
    state = STATE.resolve()
    if "?" in str(state):  # which ends the path in a database's address: there it is told from the root, where all run
        state = STATE
        os.environ.setdefault(
            "PREFECT_API_DATABASE_CONNECTION_URL", f"sqlite+aiosqlite:///{STATE / 'prefect/prefect.db'}"
        )
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{state / 'mlflow.db'}")


def make_state() -> None:
    """Make the folder of state; in a copy of `dvc exp run --temp`, which DVC removes, lead to the project's own."""
    here = Path.cwd()
    project = next((place for place in here.parents if place / EXPERIMENTS in here.parents), None)
    if project and not STATE.is_symlink() and not STATE.exists():
        (project / STATE).mkdir(exist_ok=True)
        STATE.symlink_to(project / STATE)
    STATE.mkdir(exist_ok=True)


def read_kept(path: Path) -> dict[str, Any]:
    """What a JSON file holds that is a convenience; nothing where there is none, or a damaged one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def require_prefect_home() -> None:
    """Refuse a home in which Prefect cannot write; it would tell of it in a hundred lines, and of no mend."""
    home = Path(os.environ["PREFECT_HOME"]).expanduser()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise MienError(f"PREFECT_HOME {home}: {error.strerror}; name a folder that can be written to") from None


def peak_memory_bytes() -> int:
    """Most memory that this process held."""
    return _peak(resource.RUSAGE_SELF)


def children_peak_bytes() -> int:
    """Most memory that any single finished child process held."""
    return _peak(resource.RUSAGE_CHILDREN)


def _peak(who: int) -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    return resource.getrusage(who).ru_maxrss * unit
