"""The stage `finetune` on a miniature release, by two processes: killed with its launcher, then run to its end."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from pipeline.core.code import ROOT
from tests.tiny import TINY_PARAMS, merge
from tests.workers import lives, wait_for

pytestmark = pytest.mark.slow
STAGE, OUT = "finetune@vit-va", Path("artifacts/systems/va/vit")
STEPS = 60
STOPPING = """import os, signal

replace = os.replace


def stopping(source, target, **folders):
    replace(source, target, **folders)
    if "/finetune@vit-va/" in str(target) and str(target).endswith(".json"):
        os.replace = replace  # once
        os.kill(os.getpid(), signal.SIGSTOP)


os.replace = stopping
"""


def start(processes: int, *imported: Path) -> subprocess.Popen[str]:
    given = {"MIEN_PROCESSES": str(processes), "OMP_NUM_THREADS": "1"}
    given |= {"PYTHONPATH": os.pathsep.join(map(str, [*imported, ROOT]))}
    given |= {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}  # no server: a run's record is kept
    command = [sys.executable, "-m", "stages.finetune", "vit-va"]
    return subprocess.Popen(command, env=os.environ | given, stdout=subprocess.PIPE, text=True)


def curve() -> list[float]:
    """Losses, norms, rates and scores of the whole training."""
    with (OUT / "curve.csv").open(newline="") as file:
        return [float(value) for row in csv.DictReader(file) for value in row.values() if value]


def finished(processes: int) -> str:
    run = start(processes)
    told, _ = run.communicate(timeout=300)
    assert run.returncode == 0
    return told


def test_a_stage_split_between_two_processes(mini: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "dvc.yaml", mini)
    params = merge(yaml.safe_load((ROOT / "params.yaml").read_text()), TINY_PARAMS)
    params["finetune"]["checkpoint_seconds"] = 1e-6  # one a step: it is killed after the first of them
    # a small rate: AdamW steps on the sign of gradients that are noise, and 60 such steps grow
    params["systems"]["vit"]["train"]["optimise"] |= {"steps": STEPS, "base_learning_rate": 1e-3}
    (mini / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    stopping = tmp_path / "stopping"
    stopping.mkdir()
    # after its first checkpoint rank 0 stops until it is told to go on
    (stopping / "sitecustomize.py").write_text(STOPPING)
    launcher = start(2, stopping)
    stopped = psutil.STATUS_STOPPED
    wait_for(lambda: any(rank.status() == stopped for rank in psutil.Process(launcher.pid).children()), seconds=300)
    ranks = psutil.Process(launcher.pid).children()
    assert any((mini / ".work" / STAGE).rglob("*.json"))
    launcher.kill()
    launcher.wait()
    assert len(ranks) == 2 and not OUT.exists()
    for rank in ranks:
        rank.resume()
    wait_for(lambda: not any(lives(rank.pid) for rank in ranks))  # they live in sessions of their own
    assert not OUT.exists()

    told = finished(2)
    assert told.count("resumed after step ") == told.count("finetune vit-va: validation ") == 1
    record = json.loads((mini / f"artifacts/runs/{STAGE}/run.json").read_text())
    assert record["machine"]["processes"] == 2 and record["outputs"]
    assert len(list((mini / ".mien/spool").glob("*.json"))) == 1  # one run, by rank 0
    split = curve()
    assert {path.name for path in OUT.iterdir()} >= {"validation.parquet", "test.parquet", "metrics.json", "curve.csv"}

    shutil.rmtree(mini / ".work")
    finished(1)
    assert split == pytest.approx(curve(), rel=1e-3, abs=1e-5)
