"""Prefect flows over DVC's graph: Prefect decides when and shows progress, DVC decides what is stale.

One task a stage, named after it; the graph is read from DVC, so there is no second one to drift.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from httpx import HTTPError
from prefect import State, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from pipeline.core.errors import MienError
from pipeline.core.secrets import redacted
from pipeline.run.command import run_main
from pipeline.run.dag import dvc_command, stage_order, stale_stages
from pipeline.run.environment import require_prefect_home
from pipeline.run.flow_page import Page, own_address, title
from pipeline.run.tracking import FLOW_PAGE

HINTS = ("To track the changes with git", "git add ", "To enable auto staging", "dvc config core.autostage")


def run_in_group(command: list[str], extra_environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command in its own process group and take the whole group down with it on any way out.

    A cancel would otherwise reach `dvc` and leave its training process on the GPU. Its standard output is shown as it
    comes, less DVC's hints after each stage, and all of it is given back with the exit code.
    """
    environment = {**os.environ, **(extra_environment or {})}
    process = subprocess.Popen(command, start_new_session=True, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    shown = []
    try:
        for line in process.stdout:
            if line.strip() and not line.strip().startswith(HINTS):
                print(line, end="", flush=True)
            shown.append(line)
        return process.wait(), "".join(shown)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


@task(cache_policy=NO_CACHE, task_run_name="{stage}")
def repro_stage(stage: str, is_stale: bool, upstream: Sequence[bool]) -> State:
    """Reproduce one stage if it is stale; the state tells: `Completed`, `Skipped`, or `Failed` with a message.

    `upstream` tells of each stage that this one needs whether it has run just now; where none has and this one is not
    stale, DVC is not asked again. The state's data tells the same of this stage. A state that is returned is logged as
    one line, an exception as a traceback.
    """
    if not is_stale and not any(upstream):
        return Completed(name="Skipped", message="up to date", data=False)
    command = [dvc_command(), "--wait-for-lock", "repro", "--single-item", stage]
    code, shown = run_in_group(command, {"MIEN_FLOW_RUN": str(flow_run.get_id() or ""), FLOW_PAGE: own_address()})
    if code:
        return Failed(message=f"stage {stage} failed (exit {code}); its own message stands above")
    if "didn't change, skipping" in shown:
        return Completed(name="Skipped", message="DVC found it up to date", data=False)
    return Completed(message="reproduced", data=True)


@flow(name="mien-repro")
def repro_flow(order: Mapping[str, Sequence[str]], stale: Collection[str]) -> State:
    """Reproduce the stages of `order`, each after those it depends on; fails as the first stage did that failed."""
    runs: dict[str, Any] = {}
    for stage, upstream in order.items():
        submit: Any = repro_stage.submit
        runs[stage] = submit(stage, stage in stale, [runs[name] for name in upstream])
    page, states = Page(len(runs)), {}
    for stage, run in runs.items():
        run.wait()
        states[stage] = run.state
        if not run.state.is_completed():
            page.close(states)
            return Failed(message=run.state.message)
        page.advance(stage)
    page.close(states)
    return Completed()


def repro(jobs: int = 1, until: Sequence[str] = ()) -> None:
    """Run the flow with up to `jobs` stages at a time; one by one is right for one GPU.

    `until` are the last stages wanted, all of them where it is empty. Nothing stale: no server is started.
    """
    order = stage_order(until=until)
    stale = stale_stages(list(order))
    if not stale:
        print("\n".join(f"{stage}: Skipped, up to date" for stage in order))
        return
    require_prefect_home()
    runner: Any = ThreadPoolTaskRunner(max_workers=jobs)
    try:
        named = repro_flow.with_options(task_runner=runner, flow_run_name=title(len(stale), len(order)))
        state: Any = named(order, stale, return_state=True)
    except (HTTPError, RuntimeError) as error:
        server = redacted(os.environ.get("PREFECT_API_URL", "")) or "Prefect's own server"
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise MienError(f"{server} cannot be reached ({first[:120]}); start it, or unset PREFECT_API_URL") from None
    if not state.is_completed():
        raise MienError(state.message or "the flow did not end well")


if __name__ == "__main__":  # started by `mien repro`, which ends it with all that it starts
    run_main(lambda: repro(int(sys.argv[1]), sys.argv[2:]))
