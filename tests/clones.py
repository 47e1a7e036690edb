"""A newcomer's clone in miniature: the tracked files at tiny params, run through DVC as anybody would."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.core.code import ROOT
from pipeline.run.warm import can_warm, warm_start
from tests.tiny import TINY_PARAMS, merge

TINY_DEMO = {
    "videos": {"train": 3, "validation": 2, "test": 2, "frames": 24},
    "mtl": {"train": 3, "validation": 2, "test": 2, "frames": 6},
    "lsd": {"train_per_class": 4, "validation_per_class": 3, "test": 8},
    "unlabelled": {"images": 16, "without_face": 2},
}


def rewrite(path: Path, changes: dict) -> None:
    path.write_text(yaml.safe_dump(merge(yaml.safe_load(path.read_text()), changes), sort_keys=False))


def environment() -> dict[str, str]:
    binaries = Path(sys.executable).parent
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DVC_", "PREFECT_", "PYTHONPATH"))}
    return kept | {"PATH": f"{binaries}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def run_in(clone: Path, *command: str) -> str:
    run = subprocess.run(command, cwd=clone, env=environment(), capture_output=True, text=True)
    assert run.returncode == 0, f"{' '.join(command)}\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
    return run.stdout


def repro(clone: Path, *targets: str) -> str:
    """`dvc repro`, its stages forked from a process that has the libraries loaded (`pipeline/run/warm.py`)."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as kept:
        patch.chdir(clone)
        patch.delenv("PYTHONPATH", raising=False)
        for name, value in environment().items():
            patch.setenv(name, value)
        if can_warm():
            kept.enter_context(warm_start())
        return run_in(clone, "dvc", "repro", *targets)


def commit(clone: Path) -> None:
    """All that is there as one commit."""
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "clone", "--allow-empty")):
        subprocess.run([*git, *command], cwd=clone, check=True, capture_output=True)


def make_clone(target: Path) -> Path:
    """The tracked files with tiny params and no lock, committed; nothing has run."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0")[:-1]:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    (target / "dvc.lock").unlink(missing_ok=True)
    (target / "demo/dvc.lock").unlink(missing_ok=True)
    rewrite(target / "demo/params.yaml", TINY_DEMO)
    rewrite(target / "params.yaml", TINY_PARAMS)
    commit(target)
    return target


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first of pytest's processes to ask makes, for all of them: copy it before you change it."""
    base = factory.getbasetemp()
    home = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        target, made = home / name, home / f"{name}.made"
        if not made.exists():
            shutil.rmtree(target, ignore_errors=True)  # of a process that failed on its way
            make(target)
            made.touch()
    return target


def make_rendered(target: Path) -> None:
    """A clone in which the miniature release is rendered, and nothing else."""
    make_clone(target)
    run_in(target, "dvc", "repro", "demo/dvc.yaml:synthesize")
