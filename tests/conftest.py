"""What several tests share: the root, the folder of shared material, a workspace of one's own, a miniature release."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipeline.settings import Params

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
# The networks are tiny: on a busy machine, threads that wait for each other cost twenty times what they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that are allowed the longest come first: started last, one would keep one core busy while others idle."""
    longest: dict[Path, float] = {}
    for item in items:
        allowed = item.get_closest_marker("timeout")
        longest[item.path] = max(longest.get(item.path, 0.0), allowed.args[0] if allowed else 0.0)
    items.sort(key=lambda item: -longest[item.path])


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


@pytest.fixture(scope="session")
def tiny() -> "Params":
    """The shipped params at tiny sizes."""
    from tests.tiny import tiny_params

    return tiny_params(ROOT)


@pytest.fixture(scope="session")
def mini_root(tmp_path_factory: pytest.TempPathFactory, tiny: "Params") -> Path:
    """A miniature release (tests/mini.py), made once, for tests that copy what they need of it."""
    from tests.mini import make_mini

    return make_mini(tmp_path_factory.mktemp("mini"), tiny)


@pytest.fixture
def mini(mini_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the miniature release as the working directory: what a test writes there, no other test sees."""
    copy = Path(shutil.copytree(mini_root, tmp_path / "mini"))
    monkeypatch.chdir(copy)
    return copy
