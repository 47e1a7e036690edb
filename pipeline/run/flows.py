"""Prefect flows over DVC's graph: Prefect decides when and shows progress, DVC decides what is stale.

One task a stage, named after it; the graph is read from DVC, so there is no second one to drift. Stages that do not
need one another run side by side, each with one thread of the CPU (`stages/__init__.py`), so their number changes no
result.
"""

import contextlib
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from queue import SimpleQueue
from typing import Any

import psutil
from httpx import HTTPError
from prefect import State, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from pipeline.core.errors import MienError
from pipeline.core.secrets import redacted
from pipeline.run.command import run_main
from pipeline.run.cut_lock import keep_lock, mend_lock
from pipeline.run.dag import stage_order, stale_stages
from pipeline.run.environment import POOL, STATE, require_prefect_home
from pipeline.run.flow_page import Page, own_address, title
from pipeline.run.once import alone
from pipeline.run.one_stage import SKIPPED, Say, reproduce
from pipeline.run.pace import Way, expected_seconds
from pipeline.run.parallel import available_cores
from pipeline.run.pool import on_pool, open_pool
from pipeline.run.repository import drop_empty_runs, nobody_writes
from pipeline.run.schedule import Ready, may_run
from pipeline.run.tracking import FLOW_PAGE
from pipeline.run.warm import can_warm, warm_start

ALONE = STATE / "repro.lock"
WORTH_WARMING = 3  # stages that are stale: for fewer, loading every library takes longer than it saves
STAGE_BYTES = 3 * 2**30  # memory for a stage beside others


@task(cache_policy=NO_CACHE, task_run_name="{stage}")
def repro_stage(stage: str, is_stale: bool, upstream: Sequence[bool], tell: Say, pool: str = "") -> State:
    """Reproduce one stage if it is stale, here or on a work pool.

    The state tells: `Completed`, `Skipped`, or `Failed` with a message.
    `upstream` tells of each stage that this one needs whether it has run just now; where none has and this one is not
    stale, DVC is not asked again. The state's data tells the same of this stage. What the stage prints goes to `tell`.
    A state that is returned is logged as one line, an exception as a traceback.
    """
    if not is_stale and not any(upstream):
        return Completed(name=SKIPPED, message="up to date", data=False)
    environment = {"MIEN_FLOW_RUN": str(flow_run.get_id() or ""), FLOW_PAGE: own_address()}
    return on_pool(pool, stage, environment, tell) if pool else reproduce(stage, environment, tell)


@flow(name="mien-repro")
def repro_flow(order: Mapping[str, Sequence[str]], stale: Collection[str], jobs: int, pool: str = "") -> State:
    """Reproduce the stages of `order`, each after those it depends on, up to `jobs` at a time.

    Fails as the first stage did that failed; those that ran beside it end before, and keep what they made.
    """
    seconds = expected_seconds(order) | dict.fromkeys(order.keys() - may_run(order, stale), 0.0)
    ready, ended = Ready(order, seconds), SimpleQueue[str]()
    runs: dict[str, Any] = {}
    states: dict[str, State] = {}
    page, failed = Page(len(order)), ""
    with Way(order, seconds, jobs) as way:
        while True:
            while not failed and len(runs) - len(states) < jobs and (stage := ready.take()):
                way.begin(stage)
                submit: Any = repro_stage.submit
                runs[stage] = submit(stage, stage in stale, [runs[name] for name in order[stage]], way.say, pool)
                runs[stage].add_done_callback(lambda _, stage=stage: ended.put(stage))
            if len(runs) == len(states):
                break
            stage = ended.get()
            runs[stage].wait()  # no longer; it fetches the state
            states[stage] = state = runs[stage].state
            if not state.is_completed():
                failed = failed or state.message or f"stage {stage} did not end well"
                continue
            ready.end(stage)
            if ran := state.name != SKIPPED:
                keep_lock()
            page.advance(stage)
            way.end(stage, ran=ran)
    page.close({stage: states[stage] for stage in order if stage in states})
    return Failed(message=failed) if failed else Completed()


def side_by_side() -> int:
    """Stages at a time: one a GPU's machine, else one a core, as far as the memory goes."""
    from torch import cuda  # seconds to load, and where nothing is stale nobody asks

    if cuda.is_available():
        return 1
    return max(1, min(available_cores(), psutil.virtual_memory().available // STAGE_BYTES))


def repro(jobs: int = 0, pool: str = "", until: Sequence[str] = ()) -> None:
    """Run the flow with up to `jobs` stages at a time; 0: `side_by_side`, or whatever a work pool's workers take.

    `until` are the last stages wanted, all of them where it is empty. Nothing stale: no server is started. One flow at
    a time runs in a project: another waits for it, even where the `mien repro` that started it was killed.
    """
    with alone(ALONE):
        with nobody_writes() as run_cache:
            drop_empty_runs(run_cache)
            if told := mend_lock():
                print(told, file=sys.stderr)
            order = stage_order(until=until)
        _repro(order, jobs, pool)


def _repro(order: Mapping[str, Sequence[str]], jobs: int, pool: str) -> None:
    stale = stale_stages(list(order))
    if not stale:
        print("\n".join(f"{stage}: Skipped, up to date" for stage in order))
        return
    require_prefect_home()
    jobs = jobs or (len(order) if pool else side_by_side())
    runner: Any = ThreadPoolTaskRunner(max_workers=jobs)
    try:
        if pool:
            open_pool(pool)
        named = repro_flow.with_options(task_runner=runner, flow_run_name=title(len(stale), len(order)))
        with warm_start() if not pool and len(stale) >= WORTH_WARMING and can_warm() else contextlib.nullcontext():
            state: Any = named(order, stale, jobs, pool, return_state=True)
    except (HTTPError, RuntimeError) as error:
        server = redacted(os.environ.get("PREFECT_API_URL", "")) or "Prefect's own server"
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise MienError(f"{server} cannot be reached ({first[:120]}); start it, or unset PREFECT_API_URL") from None
    if not state.is_completed():
        raise MienError(state.message or "the flow did not end well")


if __name__ == "__main__":  # started by `mien repro`, which ends it with all that it starts
    run_main(lambda: repro(int(sys.argv[1]), os.environ.get(POOL, ""), sys.argv[2:]))
