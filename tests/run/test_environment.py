"""What every command starts with, and ports that are taken."""

import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from sqlalchemy import make_url

from pipeline.core.errors import MienError
from pipeline.run.environment import EXPERIMENTS, NO_TELEMETRY, prepare, require_prefect_home
from pipeline.run.mlflow_ui import require_free


def test_defaults_name_places_that_are_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    patience = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
    for name in ("PREFECT_HOME", "MLFLOW_TRACKING_URI", patience, *NO_TELEMETRY):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DO_NOT_TRACK", "0")  # what the user has set stays
    prepare()
    assert Path(os.environ["PREFECT_HOME"]).parent == tmp_path / ".mien"
    assert (tmp_path / ".mien").is_dir() and float(
        os.environ[patience]
    ) > 60  # Prefect's 20 s are few on a busy machine
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/.mien/mlflow.db"
    assert os.environ["DO_NOT_TRACK"] == "0" and os.environ["DVC_NO_ANALYTICS"] == "1"


def test_a_question_mark_in_the_projects_path_ends_no_databases_address(tmp_path, monkeypatch):
    project = tmp_path / "what?now"
    project.mkdir()
    monkeypatch.chdir(project)
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_HOME"):
        monkeypatch.setenv(name, "")  # so that what `prepare` sets goes with the test
        monkeypatch.delenv(name)
    prepare()
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_DATABASE_CONNECTION_URL"):
        place = Path(make_url(os.environ[name]).database or "")
        place.parent.mkdir(parents=True, exist_ok=True)
        assert place.parent.resolve().is_relative_to(project / ".mien") and place.suffix == ".db"
    assert os.listdir(tmp_path) == ["what?now"]


def test_a_proxy_does_not_stand_before_servers_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as held:  # a port on which nobody answers
        held.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{held.getsockname()[1]}")
    monkeypatch.setenv("NO_PROXY", "intranet.example,localhost")
    monkeypatch.delenv("no_proxy", raising=False)
    prepare()
    prepare()
    assert os.environ["NO_PROXY"] == "intranet.example,localhost,127.0.0.1"
    assert os.environ["no_proxy"] == "localhost,127.0.0.1"
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.handle_request, daemon=True).start()
        answer = httpx.get(f"http://127.0.0.1:{server.server_address[1]}/", timeout=10)  # Prefect's own client
    assert answer.text == "here"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"here")

    def log_message(self, *arguments: object) -> None:
        pass


def test_an_experiment_in_a_copy_keeps_its_runs_where_the_project_has_its_own(tmp_path, monkeypatch):
    copy = tmp_path / EXPERIMENTS / "standalone" / "one"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    prepare()
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/.mien/mlflow.db"
    prepare()
    (copy / ".mien/note").touch()
    assert (tmp_path / ".mien/note").is_file()


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
