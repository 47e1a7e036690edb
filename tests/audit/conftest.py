"""One finished clone for all tests of the audit, and copies of it."""

import shutil
from pathlib import Path

import pytest

from tests.audit import finished
from tests.clones import once


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, "finished", finished.make_finished)


@pytest.fixture
def clone(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy as the working directory, with MLflow's store of its own."""
    target = tmp_path / "clone"
    shutil.copytree(original, target, symlinks=True)
    monkeypatch.chdir(target)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{target}/.mien/mlflow.db")
    return target
