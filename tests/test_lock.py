"""The committed lock is that of the committed code and params: nothing would run again for the default params."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bench.reach import stage_names
from pipeline.core.code import ROOT, code_lines, stage_modules
from pipeline.core.files import file_digest


def test_locked_code_is_the_code() -> None:
    """Every stage's code file in a lock has the digest of the code as it stands."""
    present = {
        f"artifacts/code/{stage}.txt": hashlib.md5(("\n".join(code_lines(*starts)) + "\n").encode()).hexdigest()
        for stage, starts in stage_modules().items()
    }
    locked = {}
    for lock in (ROOT / "dvc.lock", ROOT / "demo/dvc.lock"):
        for name, stage in yaml.safe_load(lock.read_text())["stages"].items():
            for dep in stage["deps"]:
                if dep["path"].startswith("artifacts/code/"):
                    locked[dep["path"]] = dep["md5"]
                    assert dep["md5"] == present[dep["path"]], f"{name}: its code changed; run `dvc repro`"
    unused = {f"artifacts/code/{name}.txt" for name in ("external_faces", "finetune-mini_xception")}
    assert present.keys() - locked.keys() == unused  # the demo has no external set and no file of weights


def test_the_lock_knows_the_stages_that_there_are() -> None:
    """DVC leaves the entry of a stage that was renamed or dropped: nobody would notice that it tells of nothing."""
    locked = [
        name for lock in ("dvc.lock", "demo/dvc.lock") for name in yaml.safe_load((ROOT / lock).read_text())["stages"]
    ]
    assert sorted(locked) == sorted(stage_names())


def test_locked_files_are_the_files() -> None:
    """Every dep of a lock that git tracks as a file has the md5 of that file."""
    tracked = set(
        subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    )
    compared = 0
    for lock in (ROOT / "dvc.lock", ROOT / "demo/dvc.lock"):
        for name, stage in yaml.safe_load(lock.read_text())["stages"].items():
            for dep in stage["deps"]:
                if dep["path"] in tracked:
                    compared += 1
                    assert dep["md5"] == file_digest(ROOT / dep["path"], "md5"), f"{name}: {dep['path']} changed"
    assert compared > 5


@pytest.mark.slow
def test_dvc_would_run_nothing() -> None:
    """DVC itself, data left aside, finds every stage up to date."""
    dvc = Path(sys.executable).parent / "dvc"
    command = [str(dvc), "repro", "--dry", "--allow-missing"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "Running stage" not in run.stdout, run.stdout[-2000:]


def test_a_clone_without_a_cache_has_the_scores(tmp_path: Path) -> None:
    """`dvc metrics show` and `dvc metrics diff` read what git holds."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    command = [sys.executable, "-m", "dvc", "metrics", "show", "--json"]
    shown = subprocess.run(command, cwd=tmp_path / "clone", capture_output=True, text=True, check=True).stdout
    told = json.loads(shown)[""]["data"]["reports/scores.json"]["data"]
    assert told == json.loads((ROOT / "reports/scores.json").read_text())
