"""Stages on a work pool: a real Prefect server, and a worker that takes them in the shared folder."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from pipeline.core.errors import MienError
from pipeline.retrain.serve import is_healthy
from pipeline.run.pool import open_pool
from pipeline.run.supervise import SIGNALLED, end_tree
from tests.workers import lives, wait_for

pytestmark = pytest.mark.slow
POOL = "machines"
DVC_YAML = """
stages:
  one: {cmd: "echo one > one.txt", outs: [one.txt]}
  two: {cmd: "cp one.txt two.txt; echo $PPID", deps: [one.txt], outs: [two.txt]}
  bad: {cmd: "echo 'error: not today'; exit 3"}
  long: {cmd: "echo $$ > pid; sleep 300"}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Path]:
    """A project of four stages, its own Prefect server, a pool and one worker; ended afterwards."""
    folder = tmp_path_factory.mktemp("pool")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"http://127.0.0.1:{port}/api"
    given = {"PREFECT_HOME": str(folder / "home"), "PREFECT_API_URL": address, "PYTHONPATH": str(root)}
    given |= {"PREFECT_WORKER_QUERY_SECONDS": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
            subprocess.run(command, cwd=folder, check=True)
        (folder / "dvc.yaml").write_text(DVC_YAML)
        running: list[subprocess.Popen] = []

        def begin(*words: str) -> None:
            command = [sys.executable, "-m", "prefect", *words]
            running.append(subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

        try:
            begin("server", "start", "--host", "127.0.0.1", "--port", port)
            wait_for(lambda: is_healthy(address), seconds=180)
            create = [sys.executable, "-m", "prefect", "work-pool", "create", POOL, "--type", "process"]
            subprocess.run(create, cwd=folder, check=True, capture_output=True)
            begin("worker", "start", "--pool", POOL, "--limit", "2")
            yield folder
        finally:
            for process in running:
                end_tree(process.pid)


def repro(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "repro", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400)


def test_a_worker_runs_what_is_stale(project):
    run = repro(project, "--pool", POOL, "--until", "two")
    assert run.returncode == 0, run.stdout + run.stderr
    assert (project / "two.txt").read_text() == "one\n"
    assert "two: completed on machines" in run.stdout
    assert "  two:" in (project / "dvc.lock").read_text()
    assert "two: Skipped, up to date" in repro(project, "--pool", POOL, "--until", "two").stdout


def test_a_stage_that_fails_there_says_why_here(project):
    run = repro(project, "--pool", POOL, "--until", "bad")
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == "error: stage bad: error: not today"


def test_ctrl_c_here_ends_it_there(project):
    command = [sys.executable, "-m", "pipeline", "repro", "--pool", POOL, "--until", "long"]
    run = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)
    wait_for((project / "pid").is_file, seconds=200)
    run.send_signal(signal.SIGINT)
    _, told = run.communicate(timeout=100)
    assert run.returncode == SIGNALLED + signal.SIGINT and "long: cancelled on machines" in told
    wait_for(lambda: not lives(int((project / "pid").read_text())), seconds=100)


def test_what_is_missing_is_one_line(project, monkeypatch, capsys):
    with temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]}):
        with pytest.raises(MienError, match=r"no work pool nowhere: prefect work-pool create nowhere --type process"):
            open_pool("nowhere")
        with get_client(sync_client=True) as client:
            client.create_work_pool(WorkPoolCreate(name="idle", type="process"))
        open_pool("idle")
        assert "idle: no worker yet" in capsys.readouterr().out
        monkeypatch.delenv("PREFECT_API_URL")
        with pytest.raises(MienError, match="PREFECT_API_URL names no server"):
            open_pool(POOL)
