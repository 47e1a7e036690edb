"""How long each stage took and what it held: read from the run.json files, never part of a tracked output.

Times differ from run to run, so they live beside the report (`timings.js`, which the page loads when it is there).
"""

import json
from pathlib import Path

from pipeline.core.files import atomic_write_text
from pipeline.core.paths import REPORT, RUNS
from pipeline.run.dag import stage_order


def read_runs() -> list[dict]:
    """The run.json of every stage in the graph's order; stages that have none are left out."""
    names = [stage.rpartition(":")[2] for stage in stage_order()]
    paths = [RUNS / name / "run.json" for name in names]
    return [json.loads(path.read_text()) for path in paths if path.is_file()]


def render(runs: list[dict]) -> str:
    """A plain table with a total."""
    lines = [f"{'stage':<22}{'seconds':>9}{'peak MB':>9}"]
    for run in runs:
        lines.append(f"{run['stage']:<22}{run['seconds']:>9.1f}{_peak(run) / 1e6:>9.0f}")
    lines.append(
        f"{'total':<22}{sum(run['seconds'] for run in runs):>9.1f}{max(map(_peak, runs), default=0) / 1e6:>9.0f}"
    )
    return "\n".join(lines)


def _peak(run: dict) -> int:
    """Memory of a stage: its own process, and its workers, of which each held at most what the largest did."""
    return run["peak_memory_bytes"] + run["workers"] * run["largest_child_bytes"]


def publish_timings(report: Path = REPORT) -> None:
    """Print the table and put it beside the report."""
    runs = read_runs()
    print(render(runs))
    shown = [{"stage": r["stage"], "seconds": r["seconds"], "megabytes": round(_peak(r) / 1e6)} for r in runs]
    atomic_write_text(report.with_name("timings.js"), f"window.mienTimings = {json.dumps(shown)};\n")
