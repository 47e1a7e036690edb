"""The demo's validation scores over seeds, against the best constant predictor and chance.

Each seed runs the graph from pretraining on, in a copy of this workspace (reproduced before), with every seed of
params.yaml set to it; the seed of params.yaml is read from this workspace. The score is that of inner folds, as in the
report.

usage: python -m bench.seeds [--seeds 0 1 2]
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.base.params import load_params
from pipeline.errors import MienError

RESULT = Path("docs/benchmarks/demo_seeds.json")
COPIED = (".dvc", "artifacts", "data", "demo", "models", "pipeline", "stages", "submissions", "reports")
FILES = ("dvc.yaml", "dvc.lock", "params.yaml", "weights.yaml", "requirements.lock", ".dvcignore", ".gitignore")


def copy_workspace(target: Path) -> None:
    """Hard links: stages replace their outputs, they never write into them."""
    for name in COPIED:
        shutil.copytree(
            name, target / name, copy_function=_link, ignore=shutil.ignore_patterns("cache", "tmp", "__pycache__")
        )
    for name in FILES:
        shutil.copyfile(name, target / name)
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def read_metrics(workspace: Path) -> dict[str, dict]:
    paths = sorted(workspace.glob("artifacts/ensemble/*/metrics.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in paths}


def scores(seed: int) -> dict[str, dict]:
    """Metrics of each track under one seed; this workspace's own seed has been run already."""
    if seed == load_params().finetune.seed:
        return read_metrics(Path())
    with tempfile.TemporaryDirectory(dir=".work") as folder:
        workspace = Path(folder)
        copy_workspace(workspace)
        params = workspace / "params.yaml"
        params.write_text(re.sub(r"(?m)^(  seed: )\d+", rf"\g<1>{seed}", params.read_text()))
        dvc = Path(sys.executable).parent / "dvc"
        targets = [f"ensemble@{track}" for track in load_params().ensemble.members]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{dvc.parent}:{os.environ['PATH']}"}
        log = Path(".work") / f"seed-{seed}.log"
        with log.open("w") as output:
            run = subprocess.run([dvc, "repro", *targets], cwd=workspace, env=environment, stdout=output, stderr=output)
        if run.returncode:
            raise MienError(f"seed {seed}: dvc repro failed; see {log}")
        return read_metrics(workspace)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # one thread of computation a seed
        by_seed = list(pool.map(scores, seeds))
    table = {}
    for track in by_seed[0]:
        values = [found[track]["score"] for found in by_seed]
        table[track] = {
            "scores": [round(v, 4) for v in values],
            "mean": round(statistics.mean(values), 4),
            "deviation": round(statistics.stdev(values), 4) if len(values) > 1 else None,
            "constant": round(by_seed[0][track]["baselines"]["constant"], 4),
            "chance": round(by_seed[0][track]["baselines"]["chance"], 4),
        }
        print(track, table[track])
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"seeds": seeds, "tracks": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
