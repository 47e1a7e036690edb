"""In which order the flows run the graph, and what they do when a stage fails."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.states import Completed, Failed

from pipeline.core.errors import MienError
from pipeline.core.files import write_json
from pipeline.run import flows, one_stage
from pipeline.run.dag import dvc_command
from tests.workers import wait_for

GRAPH = {"up": [], "side": [], "down": ["up"], "last": ["down", "side"]}
KINDS = ("flow_runs", "artifacts")


class Submitted:
    """Stands for a Prefect task: keeps what was submitted."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.calls: list[tuple[str, list[str]]] = []
        self.stale: set[str] = set()

    def submit(self, stage: str, is_stale: bool, upstream: list[Any], tell: one_stage.Say, pool: str) -> Any:
        self.calls.append((stage, [future.stage for future in upstream]))
        self.stale |= {stage} if is_stale else set()
        return Future(stage, self)


class Future:
    def __init__(self, stage: str, owner: Submitted) -> None:
        self.stage, self.owner = stage, owner

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        call(self)

    def wait(self) -> None:
        """Has ended."""

    @property
    def state(self) -> State:
        failed = self.stage == self.owner.failing
        return Failed(message=f"stage {self.stage} failed") if failed else Completed()


@pytest.mark.parametrize("jobs", [1, 2, 9])
def test_flow_submits_each_stage_once_after_its_upstream(workspace, monkeypatch, jobs, capsys):
    tasks = Submitted()
    monkeypatch.setattr(flows, "repro_stage", tasks)
    assert flows.repro_flow.fn(GRAPH, {"side"}, jobs).is_completed()
    assert tasks.stale == {"side"}
    assert dict(tasks.calls) == GRAPH and len(tasks.calls) == len(GRAPH)
    names = [stage for stage, _ in tasks.calls]
    assert all(names.index(name) < names.index(stage) for stage, upstream in GRAPH.items() for name in upstream)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("4 stages") and [line.split(":")[0] for line in lines] == [
        f"[{number}/4] {stage}" for number, stage in enumerate(names, 1)
    ]


def test_flow_fails_when_a_stage_does(workspace, monkeypatch):
    tasks = Submitted(failing="down")
    monkeypatch.setattr(flows, "repro_stage", tasks)
    state = flows.repro_flow.fn(GRAPH, set(), 1)
    assert state.is_failed() and state.message == "stage down failed"
    assert tasks.calls[-1][0] == "down"  # nothing is begun after it


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_no_process_outlives_its_stage(tmp_path, capfd):
    pid_file = tmp_path / "pid"
    told = "echo one; echo; echo '  git add dvc.lock'; echo two; exit 3"
    command = ["sh", "-c", f'sleep 300 >/dev/null & echo $! > "$PID_FILE"; {told}']
    assert one_stage.run_in_group(command, {"PID_FILE": str(pid_file)}) == (3, "one\n\n  git add dvc.lock\ntwo\n")
    assert capfd.readouterr().out == "one\ntwo\n"
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def test_dvc_of_this_environment():
    assert os.access(dvc_command(), os.X_OK)


@pytest.mark.parametrize(
    ("said", "name"), [("Stage 'side' didn't change, skipping", "Skipped"), ("Running stage 'side':", "Completed")]
)
def test_what_was_up_to_date_is_told_from_what_ran(workspace, monkeypatch, said, name):
    command = workspace / "dvc"
    command.write_text(f'#!/bin/sh\necho "{said}"\n')
    command.chmod(0o755)
    monkeypatch.setattr(one_stage, "dvc_command", lambda: str(command))
    state = flows.repro_stage.fn("side", True, [], print)
    assert (state.name, state.data) == (name, name == "Completed")


def test_a_fresh_stage_is_not_asked_again_unless_one_above_it_has_run(workspace, monkeypatch):
    monkeypatch.setattr(one_stage, "run_in_group", lambda *_, **__: (0, "Running stage"))
    assert flows.repro_stage.fn("down", False, [True, False], print).name == "Completed"
    monkeypatch.setattr(one_stage, "run_in_group", lambda *_, **__: pytest.fail("asked"))
    assert flows.repro_stage.fn("down", False, [False, False], print).name == "Skipped"


def test_nothing_stale_starts_no_server(workspace, monkeypatch, capsys):
    monkeypatch.setattr(flows, "nobody_writes", lambda: contextlib.nullcontext(workspace / "runs"))
    monkeypatch.setattr(flows, "stage_order", lambda until: GRAPH)
    monkeypatch.setattr(flows, "stale_stages", lambda order: set())
    monkeypatch.setattr(flows, "repro_flow", None)
    flows.repro()
    assert capsys.readouterr().out.splitlines() == [f"{stage}: Skipped, up to date" for stage in GRAPH]


def project_of(workspace: Path, stage: str) -> None:
    """A project of one stage that runs a command."""
    subprocess.run(["git", "init", "-q"], cwd=workspace, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=workspace, check=True)
    (workspace / "dvc.yaml").write_text(f"stages: {{one: {{cmd: '{stage}', outs: [out]}}}}\n")


def repro_of(workspace: Path, root: Path, stage: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`mien repro` in a project of one stage that runs a command."""
    project_of(workspace, stage)
    given = os.environ | {"PYTHONPATH": str(root)} | environment
    command = [sys.executable, "-m", "pipeline", "repro"]
    return subprocess.run(command, cwd=workspace, env=given, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_stage_that_fails_is_told_once(workspace, root):
    run = repro_of(workspace, root, "echo not today; exit 3", PREFECT_HOME=str(workspace / "prefect"))
    assert run.returncode == 1 and "not today" in run.stdout
    assert run.stderr.splitlines()[-1].startswith("error: stage one failed (exit ")
    assert (run.stdout + run.stderr).count("stage one failed") == 1 and "NoneType" not in run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["all but dvc", "mien repro alone"])
def test_what_a_killed_repro_left_running_is_waited_for(workspace, root, killed):
    project_of(workspace, "echo started >> started; while [ ! -e go ]; do sleep .1; done; echo done > out")
    given = os.environ | {"PYTHONPATH": str(root), "PREFECT_HOME": str(workspace / "prefect")}
    command = [sys.executable, "-m", "pipeline", "repro"]
    first = subprocess.Popen(command, cwd=workspace, env=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for((workspace / "started").exists, seconds=120)
    below = psutil.Process(first.pid).children(recursive=True)
    (dvc,) = (process for process in below if dvc_command() in process.cmdline())
    kept = [dvc, *dvc.children(recursive=True)] if killed == "all but dvc" else below
    for process in {psutil.Process(first.pid), *below} - {*kept}:
        process.kill()
    first.wait()

    second = subprocess.Popen(command, cwd=workspace, env=given, stdout=subprocess.PIPE, text=True)
    assert second.stdout
    told = ""
    while "waiting for" not in told:
        told += second.stdout.readline()
    (workspace / "go").touch()
    rest, _ = second.communicate(timeout=120)
    assert second.returncode == 0, told + rest
    assert (workspace / "out").read_text() == "done\n"
    if killed == "all but dvc":  # whose last words nobody reads: it may end before it has written the lock
        assert f"one: waiting for process {dvc.pid}" in told
    else:
        assert "one: Skipped, up to date" in rest and (workspace / "started").read_text() == "started\n"


@pytest.mark.slow
def test_a_server_that_is_away_is_one_line(workspace, root):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        nowhere = f"http://me:hunter2@127.0.0.1:{held.getsockname()[1]}/api"
    run = repro_of(workspace, root, "true", PREFECT_API_URL=nowhere)
    last = run.stderr.strip().splitlines()[-1]
    assert run.returncode == 1 and re.match(r"error: http://127\.0\.0\.1:\d+/api cannot be reached \(", last)
    assert "hunter2" not in last and "unset PREFECT_API_URL" in last


@pytest.mark.slow
def test_flow_under_prefect(workspace, monkeypatch):
    """A real Prefect run over a small graph, with a command in DVC's place that fails for one stage.

    `side` is fresh and needs none that ran: it is not asked. `down` is fresh too, and below one that ran.
    """
    from prefect.testing.utilities import prefect_test_harness

    command = workspace / "dvc"
    command.write_text('#!/bin/sh\necho "$*:$MIEN_FLOW_RUN" >> calls\n[ "$4" != down ]\n')
    command.chmod(0o755)
    monkeypatch.setattr(one_stage, "dvc_command", lambda: str(command))
    monkeypatch.setattr(flows, "nobody_writes", lambda: contextlib.nullcontext(workspace / "runs"))
    monkeypatch.setattr(flows, "stage_order", lambda until: GRAPH)
    monkeypatch.setattr(flows, "stale_stages", lambda order: {"up"})
    write_json(Path("artifacts/runs/up/run.json"), {"run_id": "abc", "seconds": 2.5})
    with prefect_test_harness(server_startup_timeout=120):
        with pytest.raises(MienError, match=r"stage down failed \(exit 1\)"):
            flows.repro(jobs=2)
        with get_client(sync_client=True) as client:  # its own questions hold nulls, which this server refuses
            (run,), artifacts = (httpx.post(f"{client.api_url}{what}/filter", json={}).json() for what in KINDS)
    shown = {artifact["key"]: artifact for artifact in artifacts}
    assert run["name"] == "repro: 1 of 4 stages stale"
    assert shown["progress"]["data"] == 50
    assert re.fullmatch(r"2 of 4 stages, (side|up) the last", shown["progress"]["description"])
    up, *_ = rows = json.loads(shown["stages"]["data"])
    assert up == {"stage": "up", "state": "Completed", "seconds": 2.5, "message": "reproduced", "MLflow run": "abc"}
    assert [row["state"] for row in rows if row["stage"] in ("side", "down")] == ["Skipped", "Failed"]
    calls = [line.split(":") for line in (workspace / "calls").read_text().splitlines()]
    stages = [arguments.removeprefix("--wait-for-lock repro --single-item ") for arguments, _ in calls]
    assert stages == ["up", "down"]  # `last` needs what failed
    assert len({run for _, run in calls}) == 1 and calls[0][1]
