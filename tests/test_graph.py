"""The graph is DVC's: what the flows see of it, and in which order they run it."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import flows
from pipeline.errors import MienError
from pipeline.graph import stage_order
from pipeline.tracks import TRACK_NAMES

# What a system of one track takes from another track by design: EMMA's frozen network, AU-CVT's teacher.
BORROWED = {"mtl": {"finetune@dan-lsd"}, "lsd": {"pseudo_label@au"}}
GRAPH = {"up": [], "side": [], "down": ["up"], "last": ["down", "side"]}


def dot_edges(text: str) -> tuple[set[str], set[tuple[str, str]]]:
    """Stages and (upstream, downstream) pairs of `dvc dag --dot`."""
    stages = set(re.findall(r'^\s*"([^"]+)";$', text, re.MULTILINE))
    return stages, set(re.findall(r'^\s*"([^"]+)" -> "([^"]+)";$', text, re.MULTILINE))


@pytest.fixture(scope="module")
def order(root) -> dict[str, list[str]]:
    return stage_order(root)


def test_order_is_dvc_own_graph(root, order):
    run = subprocess.run([sys.executable, "-m", "dvc", "dag", "--dot"], cwd=root, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    stages, edges = dot_edges(run.stdout)
    assert edges and "demo/dvc.yaml:synthesize" in stages
    assert set(order) == stages
    assert {(upstream, stage) for stage, needs in order.items() for upstream in needs} == edges


def test_upstream_comes_first(order):
    seen: set[str] = set()
    for stage, needs in order.items():
        assert set(needs) <= seen, stage
        seen.add(stage)


def track_of(stage: str) -> str:
    """The track whose labels a stage reads, by its name; empty for the stages that read none."""
    if stage in ("pretrain_feedback", "cache_features@feedback", "finetune_temporal"):
        return "expr"
    last = re.split("[@-]", stage)[-1] if "@" in stage else ""
    return last if last in TRACK_NAMES else ""


@pytest.mark.parametrize("track", TRACK_NAMES)
def test_tracks_do_not_mix(order, track):
    """Uni-task by the rules: no stage of one track depends on a stage of another, but for the borrowed networks."""
    above, queue = set(), [f"submit@{track}"]
    while queue:
        stage = queue.pop()
        above.add(stage)
        queue += order[stage]
    assert {track_of(stage) for stage in above} >= {track, ""}
    assert {stage for stage in above if track_of(stage) not in (track, "")} == BORROWED.get(track, set())


# --- the flow --------------------------------------------------------------------------------------------------------


class Submitted:
    """Stands for a Prefect task: keeps what was submitted."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.calls: list[tuple[str, list[str]]] = []
        self.awaited: list[str] = []

    def submit(self, stage: str, wait_for: list[Any]) -> Any:
        self.calls.append((stage, [future.stage for future in wait_for]))
        return Future(stage, self)


class Future:
    def __init__(self, stage: str, owner: Submitted) -> None:
        self.stage, self.owner = stage, owner

    def result(self) -> None:
        self.owner.awaited.append(self.stage)
        if self.stage == self.owner.failing:
            raise MienError(f"stage {self.stage} failed")


def test_flow_submits_each_stage_once_after_its_upstream(monkeypatch):
    tasks = Submitted()
    monkeypatch.setattr(flows, "stage_order", lambda: GRAPH)
    monkeypatch.setattr(flows, "repro_stage", tasks)
    flows.repro_flow.fn()
    assert tasks.calls == list(GRAPH.items())
    assert tasks.awaited == list(GRAPH)


def test_flow_fails_when_a_stage_does(monkeypatch):
    monkeypatch.setattr(flows, "stage_order", lambda: GRAPH)
    monkeypatch.setattr(flows, "repro_stage", Submitted(failing="down"))
    with pytest.raises(MienError, match="stage down failed"):
        flows.repro_flow.fn()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_no_process_outlives_its_stage(tmp_path):
    pid_file = tmp_path / "pid"
    command = ["sh", "-c", 'sleep 300 & echo $! > "$PID_FILE"; exit 3']
    assert flows.run_in_group(command, {"PID_FILE": str(pid_file)}) == 3
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def test_dvc_of_this_environment():
    assert os.access(flows.dvc_command(), os.X_OK)


@pytest.mark.slow
def test_flow_under_prefect(workspace, monkeypatch):
    """A real Prefect run over a small graph, with a command in DVC's place that fails for one stage."""
    from prefect.testing.utilities import prefect_test_harness

    command = workspace / "dvc"
    command.write_text('#!/bin/sh\necho "$*:$MIEN_FLOW_RUN" >> calls\n[ "$4" != down ]\n')
    command.chmod(0o755)
    monkeypatch.setattr(flows, "dvc_command", lambda: str(command))
    monkeypatch.setattr(flows, "stage_order", lambda: GRAPH)
    with (
        prefect_test_harness(server_startup_timeout=120),
        pytest.raises(MienError, match=r"stage down failed \(exit 1\)"),
    ):
        flows.repro(jobs=2)
    calls = [line.split(":") for line in (workspace / "calls").read_text().splitlines()]
    stages = [arguments.removeprefix("--wait-for-lock repro --single-item ") for arguments, _ in calls]
    assert sorted(stages) == ["down", "side", "up"]  # `last` needs what failed
    assert stages.index("up") < stages.index("down")
    assert len({run for _, run in calls}) == 1 and calls[0][1]
