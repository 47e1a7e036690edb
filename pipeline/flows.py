"""Prefect flows over DVC's graph: Prefect decides when and shows progress, DVC decides what is stale.

One task a stage, named after it; the graph is read from DVC, so there is no second one to drift.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from pipeline.errors import MienError
from pipeline.graph import stage_order


def dvc_command() -> str:
    """The `dvc` of this environment, whatever the shell's PATH says."""
    return str(Path(sys.executable).parent / "dvc")


def run_in_group(command: list[str], extra_environment: dict[str, str] | None = None) -> int:
    """Run a command in its own process group and take the whole group down with it on any way out.

    A cancel would otherwise reach `dvc` and leave its training process on the GPU.
    """
    process = subprocess.Popen(command, start_new_session=True, env={**os.environ, **(extra_environment or {})})
    try:
        return process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


@task(cache_policy=NO_CACHE, task_run_name="{stage}")
def repro_stage(stage: str) -> None:
    """Reproduce one stage if DVC finds it stale."""
    command = [dvc_command(), "--wait-for-lock", "repro", "--single-item", stage]
    code = run_in_group(command, {"MIEN_FLOW_RUN": str(flow_run.get_id() or "")})
    if code:
        raise MienError(f"stage {stage} failed (exit {code}); its own message stands above")


@flow(name="mien-repro")
def repro_flow() -> None:
    """Reproduce the whole graph, each stage after those it depends on."""
    runs: dict[str, Any] = {}
    for stage, upstream in stage_order().items():
        submit: Any = repro_stage.submit
        runs[stage] = submit(stage, wait_for=[runs[name] for name in upstream])
    for run in runs.values():
        run.result()


def repro(jobs: int = 1) -> None:
    """Run the flow with up to `jobs` stages at a time; one by one is right for one GPU."""
    runner: Any = ThreadPoolTaskRunner(max_workers=jobs)
    repro_flow.with_options(task_runner=runner)()
