"""The demo's validation scores over seeds, against the best constant predictor and chance.

Each seed runs the graph from pretraining on, in a copy of this workspace (reproduced before), with every seed of
params.yaml set to it. The score is that of inner folds, as in the report.

usage: python -m bench.seeds [--seeds 0 1 2]
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

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


def scores(seed: int) -> dict[str, dict]:
    with tempfile.TemporaryDirectory(dir=".work") as folder:
        workspace = Path(folder)
        copy_workspace(workspace)
        params = workspace / "params.yaml"
        params.write_text(re.sub(r"(?m)^(  seed: )\d+", rf"\g<1>{seed}", params.read_text()))
        dvc = Path(sys.executable).parent / "dvc"
        run = subprocess.run(
            [dvc, "repro", *(f"ensemble@{t}" for t in ("expr", "au", "va", "mtl", "lsd"))], cwd=workspace
        )
        if run.returncode:
            raise MienError(f"seed {seed}: dvc repro failed")
        return {
            p.parent.name: json.loads(p.read_text())
            for p in sorted(workspace.glob("artifacts/ensemble/*/metrics.json"))
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    by_seed = [scores(seed) for seed in seeds]
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
