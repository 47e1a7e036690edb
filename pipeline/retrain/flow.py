"""The flow that a schedule or the inbox's watcher starts: `mien retrain --if-new-data`, in a process of its own.

`mien serve` serves it; `prefect.yaml` deploys the same to a work pool.
"""

import sys

from prefect import State, flow
from prefect.states import Completed, Failed

from pipeline.run.flows import run_in_group

COMMAND = [sys.executable, "-m", "pipeline", "retrain", "--if-new-data"]


@flow(name="mien-retrain", log_prints=True)
def retrain_flow() -> State:
    """Take in what is new; the state's message is the run's last line."""
    code, shown = run_in_group(COMMAND)
    last = next((line for line in reversed(shown.splitlines()) if line.strip()), "")
    return Failed(message=f"exit {code}: {last}") if code else Completed(message=last)
