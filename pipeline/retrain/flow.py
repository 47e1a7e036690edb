"""The flow that a schedule or the inbox's watcher starts: `mien retrain --if-new-data`, in a process of its own.

`mien serve` serves it; `prefect.yaml` deploys the same to a work pool.
"""

import contextlib
import sys
import time

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed, Failed

from pipeline.core.errors import MienError
from pipeline.retrain.history import Record, read_history, render
from pipeline.retrain.page import page_of
from pipeline.run.delivery import warn
from pipeline.run.environment import prepare
from pipeline.run.flow_page import ABOVE, own_address
from pipeline.run.mlflow_ui import mlflow_page
from pipeline.run.one_stage import run_in_group

COMMAND = [sys.executable, "-m", "pipeline", "retrain", "--if-new-data"]


def run_name() -> str:
    """A flow run by its time, UTC."""
    return time.strftime("retrain %Y-%m-%d %H:%M", time.gmtime())


@flow(name="mien-retrain", flow_run_name=run_name, log_prints=True)
def retrain_flow() -> State:
    """Take in what is new; the state's message is the run's last line."""
    prepare()
    before = len(read_history())
    code, shown = run_in_group(COMMAND, {ABOVE: own_address()})
    last = next((line for line in reversed(shown.splitlines()) if line.strip()), "")
    show_records(before)
    return Failed(message=f"exit {code}: {last}") if code else Completed(message=last)


def show_records(before: int) -> None:
    """On Prefect's page, what came of the run: the records that the history did not have before."""
    with contextlib.suppress(MienError):  # a damaged history: the command itself has said so
        for record in read_history()[before:]:
            try:
                create_markdown_artifact(outcome(record), "retrain", record.branch or "the first champions")
            except Exception as error:  # the server's or a network's: the run has ended well all the same
                warn(f"Prefect's page does not show {record.branch} ({type(error).__name__})")


def outcome(record: Record) -> str:
    """A record in Markdown, with ways on: commit, page, the champions in MLflow's registry."""
    models = [f"[mien-{track}]({mlflow_page(f'models/mien-{track}')})" for track in sorted(record.champions)]
    lines = [f"```\n{render([record])}\n```", f"Champions in MLflow's registry: {', '.join(models) or 'none'}."]
    if record.branch:
        lines.append(
            f"`git show {record.branch}` has commit {record.commit[:10]}; `{page_of(record)}` shows the drift."
        )
    return "\n\n".join(lines)
