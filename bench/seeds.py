"""The demo's scores over seeds: on validation by inner folds, as in the report, and on the hidden test truth.

Each seed runs the graph from pretraining on, in a copy of this workspace (reproduced before), with every seed of
params.yaml set to it; the seed of params.yaml is read from this workspace. On the hidden truth the ensemble stands
beside the member that was best on validation. Of each two seeds' submissions it tells how far they agree: what a
rebuild on another kind of processor may differ by (`pipeline/audit/remade.py`).

usage: python -m bench.seeds [--seeds 0 1 2]
"""

import argparse
import itertools
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

from bench.hidden import RESULT as HIDDEN
from pipeline.audit.objects import cache_folder
from pipeline.audit.remade import agreement
from pipeline.core.errors import MienError
from pipeline.core.files import write_json
from pipeline.settings import load_params

RESULT = Path("docs/benchmarks/demo_seeds.json")
COPIED = (".dvc", "artifacts", "bench", "data", "demo", "models", "pipeline", "stages", "submissions", "reports")
FILES = ("dvc.yaml", "dvc.lock", "params.yaml", "weights.yaml", "requirements.lock", ".dvcignore", ".gitignore")


def copy_workspace(target: Path) -> None:
    """Hard links: stages replace their outputs, they never write into them. DVC's cache is this workspace's."""
    for name in COPIED:
        shutil.copytree(
            name, target / name, copy_function=_link, ignore=shutil.ignore_patterns("cache", "tmp", "__pycache__")
        )
    for name in FILES:
        shutil.copyfile(name, target / name)
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)
    own = f"[cache]\n    dir = {cache_folder().resolve()}\n"  # what it lacks in a cache, DVC would make again
    (target / ".dvc/config.local").write_text(own)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def read_scores(workspace: Path) -> dict[str, dict]:
    """Metrics of each track, with the scores on the hidden truth."""
    subprocess.run([sys.executable, "-m", "bench.hidden"], cwd=workspace, stdout=subprocess.DEVNULL, check=True)
    hidden = json.loads((workspace / HIDDEN).read_text())
    found = {}
    for path in sorted(workspace.glob("artifacts/ensemble/*/metrics.json")):
        track = path.parent.name
        submitted = (workspace / f"submissions/{track}/predictions.txt").read_bytes()
        found[track] = json.loads(path.read_text()) | {"hidden": hidden[track], "submitted": submitted}
    return found


def scores(seed: int) -> dict[str, dict]:
    """Metrics of each track under one seed; this workspace's own seed has been run already."""
    if seed == load_params().finetune.seed:
        return read_scores(Path())
    with tempfile.TemporaryDirectory(dir=".work") as folder:
        workspace = Path(folder)
        copy_workspace(workspace)
        params = workspace / "params.yaml"
        params.write_text(re.sub(r"(?m)^(  seed: )\d+", rf"\g<1>{seed}", params.read_text()))
        dvc = Path(sys.executable).parent / "dvc"
        targets = [f"submit@{track}" for track in load_params().graph.tracks]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{dvc.parent}:{os.environ['PATH']}"}
        log = Path(".work") / f"seed-{seed}.log"
        with log.open("w") as output:
            run = subprocess.run([dvc, "repro", *targets], cwd=workspace, env=environment, stdout=output, stderr=output)
        if run.returncode:
            raise MienError(f"seed {seed}: dvc repro failed; see {log}")
        return read_scores(workspace)


def summary(values: list[float]) -> dict:
    """Values with their mean and standard deviation."""
    deviation = round(statistics.stdev(values), 4) if len(values) > 1 else None
    return {"scores": [round(v, 4) for v in values], "mean": round(statistics.mean(values), 4), "deviation": deviation}


def apart(track: str, found: list[dict]) -> dict:
    """The most that two seeds are apart: score on validation, decisions and scores of the submission."""
    pairs = list(itertools.combinations(found, 2))
    agreed = [agreement(track, one["submitted"], other["submitted"]) for one, other in pairs]
    decided = [pair.decisions for pair in agreed if pair.decisions is not None]
    distances = [pair.distance for pair in agreed if pair.distance is not None]
    return {
        "score": round(max(abs(one["score"] - other["score"]) for one, other in pairs), 4),
        "same_decisions": round(min(decided), 4) if decided else None,
        "distance_of_scores": round(max(distances), 4) if distances else None,
    }


def row(track: str, found: list[dict]) -> dict:
    """A track over the seeds."""
    hidden = [one["hidden"] for one in found]
    best = [one["hidden"][one["gain_over_best_member"]["member"]] for one in found]
    result = summary([one["score"] for one in found]) | {
        "constant": round(found[0]["baselines"]["constant"], 4),
        "chance": round(found[0]["baselines"]["chance"], 4),
        "hidden": {name: summary([one[name] for one in hidden]) for name in hidden[0]},
        "two_seeds_apart_at_most": apart(track, found) if len(found) > 1 else None,
        "hidden_gain_over_best_member": summary([h["ensemble"] - b for h, b in zip(hidden, best, strict=True)]),
    }
    print(track, json.dumps(result))
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # one thread of computation a seed
        by_seed = list(pool.map(scores, seeds))
    table = {track: row(track, [found[track] for found in by_seed]) for track in by_seed[0]}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    write_json(RESULT, {"seeds": seeds, "tracks": table})


if __name__ == "__main__":
    main()
