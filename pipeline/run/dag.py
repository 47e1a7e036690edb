"""The graph, read from DVC: the only definition of what depends on what."""

import difflib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx
from dvc.lock import LockError

from pipeline.core.errors import MienError
from pipeline.run.repository import repository


def dvc_command() -> str:
    """The `dvc` of this environment, whatever the shell's PATH says."""
    return str(Path(sys.executable).parent / "dvc")


def run_dvc(*arguments: str, folder: Path | None = None) -> None:
    """A `dvc` command, shown only where it fails: `MienError` with its first error."""
    run = subprocess.run([dvc_command(), *arguments], cwd=folder, capture_output=True, text=True)
    if run.returncode:
        told = [line for line in run.stderr.splitlines() if line.startswith("ERROR")] or run.stderr.splitlines()
        raise MienError(f"dvc {arguments[0]}: {(told or ['no message'])[0][:300]}")


def stage_order(root: Path | None = None, until: Sequence[str] = ()) -> dict[str, list[str]]:
    """Each stage of the pipeline and the stages it depends on, upstream first; with `until`, what these need alone.

    Stages are named as `dvc repro` takes them (`finetune@vit-expr`, `demo/dvc.yaml:synthesize`). A stage of another
    dvc.yaml belongs to the pipeline when a stage of the main one needs it.
    """
    with repository(root or Path.cwd()) as repo:
        graph = repo.index.graph
        main = [stage for stage in graph if ":" not in stage.addressing and stage.is_data_source is False]
        last = [_named(main, name) for name in until] or main
        wanted = set(last).union(*(nx.descendants(graph, stage) for stage in last))
        ordered = [stage for stage in nx.dfs_postorder_nodes(graph.subgraph(wanted)) if not stage.is_data_source]
        return {
            s.addressing: sorted(d.addressing for d in graph.successors(s) if not d.is_data_source) for s in ordered
        }


def stale_stages(order: Sequence[str]) -> set[str]:
    """Which of some stages DVC finds changed since the lock, asked once and in this process.

    What lies downstream of them may turn stale once they have run. Where DVC is at work elsewhere, all of them may be.
    """
    with repository() as repo:
        try:
            return set(repo.status()) & set(order)
        except LockError:
            return set(order)


def _named(stages: Sequence[Any], name: str) -> Any:
    for stage in stages:
        if stage.addressing == name:
            return stage
    near = difflib.get_close_matches(name, [stage.addressing for stage in stages], 1)
    meant = f", perhaps {near[0]}" if near else ""
    raise MienError(f"there is no stage {name}{meant}; `dvc stage list` names all", exit_code=2)
