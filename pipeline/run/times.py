"""How long each stage took and what it held: read from the run.json files, never part of a tracked output.

Times and run ids differ from run to run, so they live beside the report (`timings.js`, which the page loads when it is
there), and so do the scores that this workspace had before they last changed.
"""

import contextlib
import json
from pathlib import Path

from pipeline.core.files import atomic_write_text, write_json
from pipeline.core.paths import ENSEMBLE, REPORT, RUNS
from pipeline.run.dag import stage_order
from pipeline.run.environment import STATE, read_kept
from pipeline.run.mlflow_ui import mlflow_page


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


def former_scores(path: Path = STATE / "scores.json") -> dict[str, float]:
    """Each track's score before it last changed in this workspace, of those that have; keeps what they are now."""
    now = {found.parent.name: json.loads(found.read_text())["score"] for found in ENSEMBLE.glob("[!.]*/metrics.json")}
    kept = {"now": {}, "former": {}} | read_kept(path)
    changed = {track: score for track, score in kept["now"].items() if now.get(track, score) != score}
    former = kept["former"] | changed
    with contextlib.suppress(OSError):  # it is a convenience
        write_json(path, {"now": kept["now"] | now, "former": former})
    return former


def publish_timings(report: Path = REPORT) -> None:
    """Print the table and put it beside the report."""
    runs = read_runs()
    print(render(runs))
    shown = [
        {
            "stage": run["stage"],
            "seconds": run["seconds"],
            "megabytes": round(_peak(run) / 1e6),
            "page": mlflow_page(f"runs/{run['run_id']}") if run["run_id"] else None,
        }
        for run in runs
    ]
    former = {track.upper(): score for track, score in former_scores().items()}
    lines = {"window.mienTimings": shown, "window.mienFormer": former}
    atomic_write_text(
        report.with_name("timings.js"), "".join(f"{name} = {json.dumps(value)};\n" for name, value in lines.items())
    )
