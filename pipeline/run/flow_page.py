"""What Prefect's page shows of a flow over the graph: how far it is, what each stage did, the scores, and ways on.

From a flow run to MLflow's run of each stage and to the submission; MLflow's runs lead back (`tracking.py`). A server
that does not take it costs a warning.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from prefect import State
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.runtime import flow_run

from pipeline.core.paths import ENSEMBLE, RUNS, SUBMISSIONS
from pipeline.run.delivery import warn
from pipeline.run.environment import TITLE, read_kept
from pipeline.run.mlflow_ui import mlflow_page

ABOVE = "MIEN_FLOW_ABOVE"  # the address of the flow run that started it


class Page:
    """One flow run's artifacts on Prefect's page; outside a flow run there are none."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.is_shown = bool(flow_run.get_id())
        self._bar = self._made(lambda: create_progress_artifact(0.0, "progress", f"{total} stages"))

    def advance(self, stage: str) -> None:
        """One more stage has ended."""
        self.done += 1
        told = f"{self.done} of {self.total} stages, {stage} the last"
        if self._bar:
            self._made(lambda: update_progress_artifact(self._bar, 100 * self.done / self.total, told))

    def close(self, states: Mapping[str, State]) -> None:
        """Tell each stage's end, and the scores."""
        self._made(lambda: create_table_artifact(stage_rows(states), "stages", "What each stage did"))
        if text := scores_text():
            self._made(lambda: create_markdown_artifact(text, "scores", "Validation scores, runs and submissions"))

    def _made(self, make: Callable[[], Any]) -> Any:
        if not self.is_shown:
            return None
        try:
            return make()
        except Exception as error:  # the server's or a network's: the flow goes on
            first = (str(error) or type(error).__name__).splitlines()[0][:120]
            warn(f"Prefect's page does not show all of this run ({first})")
            self.is_shown = False
            return None


def stage_rows(states: Mapping[str, State]) -> list[dict[str, Any]]:
    """A row a stage: how it ended, and what its last run took."""
    rows = []
    for stage, state in states.items():
        run = run_of(stage)
        facts = {"stage": stage, "state": state.name, "seconds": run.get("seconds", ""), "message": state.message or ""}
        rows.append(facts | {"MLflow run": run.get("run_id") or ""})
    return rows


def run_of(stage: str) -> dict[str, Any]:
    """What a stage's run.json tells; nothing where there is none."""
    return read_kept(RUNS / stage / "run.json")


def scores_text() -> str:
    """A Markdown table of each track's score on validation, with links to MLflow; empty where nothing is fitted yet."""
    rows = []
    for path in sorted(ENSEMBLE.glob("*/metrics.json")):
        track, metrics = path.parent.name, read_kept(path)
        low, high = metrics.get("interval_95") or (float("nan"), float("nan"))
        places = [place.as_posix() for place in sorted((SUBMISSIONS / track).glob("*.txt"))]
        score = f"{metrics.get('score', float('nan')):.3f} | {low:.3f} to {high:.3f}"
        rows.append(
            f"| {track} | {score} | {_link(f'ensemble@{track}')} | {', '.join(places)} {_link(f'submit@{track}')} |"
        )
    head = ["| track | validation | 95 % interval | MLflow | submission |", "|---|---|---|---|---|"]
    ways = "MLflow's pages of a workspace's own database are there while `make ui` runs."
    if above := os.environ.get(ABOVE):
        ways += f" This is the graph of a [retraining]({above})."
    return "\n".join([*head, *rows, "", ways]) if rows else ""


def _link(stage: str) -> str:
    run_id = run_of(stage).get("run_id")
    return f"[{stage}]({mlflow_page(f'runs/{run_id}')})" if run_id else ""


def title(stale: int, total: int) -> str:
    """The name of a flow run: what it is for, and how much is to do."""
    return f"{os.environ.get(TITLE, 'repro')}: {stale} of {total} stages stale"


def own_address() -> str:
    """The address of this flow run's page on a server that outlives it; empty where there is none."""
    return str(flow_run.ui_url or "") if os.environ.get("PREFECT_API_URL") and flow_run.get_id() else ""
