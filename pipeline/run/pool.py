"""Stages on a Prefect work pool: each is a flow run, which a worker takes on its machine, in this folder.

All machines share the folder under one path; each has its own worker (`prefect worker start --pool NAME`), whose
`--limit` says how many stages it takes at a time. The graph stays here: a stage is handed out when what it needs is
made.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import WorkPoolStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Completed, Failed

from pipeline.core.errors import MienError
from pipeline.run.environment import prepare
from pipeline.run.one_stage import SKIPPED, Say, reproduce

FLOW = "mien-stage"
ENTRYPOINT = "pipeline.run.pool.stage_flow"  # of the Mien that the worker has installed
POLL_SECONDS = 2.0
SERVER = "PREFECT_API_URL"


@flow(name=FLOW, log_prints=True)
def stage_flow(stage: str, environment: dict[str, str]) -> State:
    """One stage, on the machine of the worker that has taken it; what it prints is in the flow run's log."""
    prepare()
    shown: list[str] = []

    def tell(line: str) -> None:
        shown.append(line)
        print(line)

    state = reproduce(stage, environment, tell)
    errors = [line for line in shown if line.startswith("error: ")]
    return Failed(message=f"stage {stage}: {errors[-1]}") if errors and not state.is_completed() else state


def open_pool(pool: str) -> None:
    """Make the stages of this folder known to a work pool; `MienError` where there is no server or no such pool."""
    if not os.environ.get(SERVER):
        raise MienError(f"--pool: {SERVER} names no server that the workers share; start one: prefect server start", 2)
    mend = f"prefect worker start --pool {pool}"
    with get_client(sync_client=True) as client:
        try:
            known = client.read_work_pool(pool)
        except ObjectNotFound:
            made = f"prefect work-pool create {pool} --type process"
            raise MienError(f"--pool: the server has no work pool {pool}: {made}, then {mend}", 2) from None
        if known.status != WorkPoolStatus.READY:
            print(f"{pool}: no worker yet, stages wait for one ({mend}, in this folder)", flush=True)
        client.create_deployment(
            flow_id=client.create_flow(stage_flow),
            name=_deployment(pool),
            work_pool_name=pool,
            entrypoint=ENTRYPOINT,
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(Path.cwd())}}],
        )


def on_pool(pool: str, stage: str, environment: Mapping[str, str], tell: Say) -> State:
    """Hand a stage to the pool's workers and wait for its end; its state is that of `reproduce`."""
    given: Any = {"stage": stage, "environment": dict(environment)}
    run: Any = run_deployment(
        f"{FLOW}/{_deployment(pool)}", parameters=given, flow_run_name=stage, poll_interval=POLL_SECONDS
    )
    tell(f"{stage}: {run.state.name.lower()} on {pool}")
    if not run.state.is_completed():
        return Failed(message=run.state.message or f"stage {stage}: {run.state.name.lower()}")
    return Completed(name=run.state.name, message=run.state.message, data=run.state.name != SKIPPED)


def cancel_stages(pool: str) -> None:
    """Ask the workers to end this folder's stages that run or wait: whoever wanted them has been stopped."""
    wanted = {
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "SCHEDULED"]}}},
        "deployments": {"name": {"any_": [_deployment(pool)]}},
    }
    opened: Any = get_client(sync_client=True)
    with opened as client:
        # not `read_flow_runs`: it sends nulls beside what is asked, which the pinned server refuses
        for run in client.request("POST", "flow_runs/filter", json=wanted).json():
            client.set_flow_run_state(run["id"], Cancelling(), force=True)
            print(f"{run['name']}: cancelled on {pool}", file=sys.stderr)


def _deployment(pool: str) -> str:
    """A name of this folder's own: several projects may share a server and a pool."""
    return f"{pool}-{hashlib.sha256(str(Path.cwd()).encode()).hexdigest()[:8]}"
