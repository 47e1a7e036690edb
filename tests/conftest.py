"""What several tests share: the project's root, the folder of shared material, a workspace of one's own."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
# The networks are tiny: on a busy machine, threads that wait for each other cost twenty times what they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes seconds (`-m 'not slow'` leaves it out)")


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Material that is not part of the project and not redistributable."""
    if not SHARED.is_dir():
        pytest.skip("needs ../shared: material that the project may not redistribute")
    return SHARED


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with the shipped params and weight declarations, and no MLflow server set."""
    for name in ("params.yaml", "weights.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/.mien/mlflow.db")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / ".mien" / "prefect"))
    monkeypatch.delenv("MIEN_FLOW_RUN", raising=False)
    return tmp_path
