"""`mien plan` against what then happened: seconds and memory of each stage, predicted and as its last run had them.

usage, after `make repro`, on the machine that ran it: python -m bench.plan
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipeline.core.files import write_json
from pipeline.core.paths import RUNS

RESULT = Path("docs/benchmarks/plan.json")


def predicted() -> dict[str, dict[str, Any]]:
    """What `mien plan` says now, by stage."""
    command = [sys.executable, "-m", "pipeline", "plan", "--json"]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {need["stage"]: need for need in json.loads(run.stdout[run.stdout.index("{") :])["stages"]}


def compare(stage: str, need: dict[str, Any]) -> dict[str, Any]:
    """A stage's prediction beside its run.json."""
    run = json.loads((RUNS / stage / "run.json").read_text())
    return {
        "stage": stage,
        "predicted_seconds": round(need["seconds"], 1),
        "happened_seconds": run["seconds"],
        "ratio": round(need["seconds"] / run["seconds"], 2),
        "predicted_gigabytes": round(need["memory_bytes"] / 1e9, 2),
        "happened_gigabytes": round(run["peak_memory_bytes"] / 1e9, 2),
    }


def main() -> None:
    rows = [compare(stage, need) for stage, need in predicted().items()]
    totals = {key: round(sum(row[key] for row in rows), 1) for key in ("predicted_seconds", "happened_seconds")}
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
    write_json(RESULT, {"machine": machine, "all": totals, "stages": rows})
    for row in rows:
        print(f"{row['stage']:<28}{row['predicted_seconds']:>9}{row['happened_seconds']:>9}{row['ratio']:>7}")
    print(f"{'all':<28}{totals['predicted_seconds']:>9}{totals['happened_seconds']:>9}")


if __name__ == "__main__":
    main()
