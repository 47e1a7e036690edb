"""What a stage costs before its own work, alone and forked from a process that has the libraries loaded.

Two stages that only open and end their run: one that loads what a submission needs, one that loads what a training
does. Processor seconds of all processes, the start of the warm process left out; its own cost is told beside.

usage: python -m bench.warm
"""

import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.core.files import write_json
from pipeline.run.environment import prepare
from pipeline.run.warm import warm_start

RESULT = Path("docs/benchmarks/warm.json")
LOADED = {"light": "stages.submit", "trains": "stages.finetune"}
STAGE = "import {loaded}\nfrom pipeline.run.command import run_main\nfrom pipeline.run.tracking import stage_run\n"
STAGE += "def main():\n    with stage_run('{name}', {{}}):\n        open('{name}.txt', 'w').close()\nrun_main(main)\n"
FEW, MANY, TURNS = 1, 11, 3  # stages a measurement: the difference is what a stage more costs


def processor_seconds() -> float:
    """Of all ended children, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds(name: str, count: int, warm: bool) -> float:
    """Processor seconds of as many stages, one after the other."""
    began = processor_seconds()
    with warm_start() if warm else contextlib.nullcontext():
        for _ in range(count):
            subprocess.run([sys.executable, "-m", f"stages.{name}"], check=True)
    return processor_seconds() - began


def measured(name: str) -> dict[str, float]:
    """A stage's cost alone and forked, medians of some turns, and that of the warm process."""
    found: dict[str, list[float]] = {"alone": [], "forked": [], "warm_process": []}
    for _ in range(TURNS):
        few, many = seconds(name, FEW, warm=True), seconds(name, MANY, warm=True)
        forked = (many - few) / (MANY - FEW)
        found["alone"].append(seconds(name, FEW, warm=False) / FEW)
        found["forked"].append(forked)
        found["warm_process"].append(few - FEW * forked)
    return {key: round(statistics.median(values), 2) for key, values in found.items()}


def main() -> None:
    """Measure, print, write."""
    root, result = Path.cwd(), RESULT.resolve()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(root / "stages", Path(folder, "stages"))
        shutil.copy(root / "params.yaml", folder)
        lines = {name: {"cmd": f"python -m stages.{name}", "outs": [f"{name}.txt"]} for name in LOADED}
        Path(folder, "dvc.yaml").write_text(json.dumps({"stages": lines}), encoding="utf-8")
        for name, loaded in LOADED.items():
            Path(folder, "stages", f"{name}.py").write_text(STAGE.format(name=name, loaded=loaded), encoding="utf-8")
        os.chdir(folder)
        os.environ |= {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        prepare()
        seconds("light", 1, warm=False)  # makes MLflow's tables
        content = {name: measured(name) for name in LOADED}
        os.chdir(root)
    write_json(result, content)
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
