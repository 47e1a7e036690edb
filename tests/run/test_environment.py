"""What every command starts with, and ports that are taken."""

import os
import socket
from pathlib import Path

import pytest

from pipeline.core.errors import MienError
from pipeline.run.environment import NO_TELEMETRY, prepare, require_prefect_home
from pipeline.run.mlflow_ui import require_free


def test_defaults_name_places_that_are_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("PREFECT_HOME", "MLFLOW_TRACKING_URI", *NO_TELEMETRY):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DO_NOT_TRACK", "0")  # what the user has set stays
    prepare()
    assert Path(os.environ["PREFECT_HOME"]).parent == tmp_path / ".mien"
    assert (tmp_path / ".mien").is_dir()
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/.mien/mlflow.db"
    assert os.environ["DO_NOT_TRACK"] == "0" and os.environ["DVC_NO_ANALYTICS"] == "1"


def test_a_port_that_is_taken_is_told():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        with pytest.raises(MienError, match=rf"127\.0\.0\.1:{port}: .*end what holds it"):
            require_free("127.0.0.1", port)
    require_free("127.0.0.1", port)


def test_a_home_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "file/home"))
    with pytest.raises(MienError, match=r"PREFECT_HOME .*/file/home: Not a directory; name a folder that can be"):
        require_prefect_home()
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "new/home"))
    require_prefect_home()
    assert (tmp_path / "new/home").is_dir() and not list((tmp_path / "new/home").iterdir())
