"""The committed lock is that of the committed code and params: nothing would run again for the default params."""

import subprocess
import sys
from pathlib import Path

import yaml

from pipeline.base.closure import ROOT
from pipeline.base.tracking import _file_digest


def test_locked_code_is_the_code() -> None:
    """Every dep of a lock that git tracks as a file has the md5 of that file."""
    tracked = set(
        subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    )
    compared = 0
    for lock, base in ((ROOT / "dvc.lock", ROOT), (ROOT / "demo/dvc.lock", ROOT)):
        for name, stage in yaml.safe_load(lock.read_text())["stages"].items():
            for dep in stage["deps"]:
                if dep["path"] in tracked:
                    compared += 1
                    assert dep["md5"] == _file_digest(base / dep["path"], "md5"), (
                        f"{name}: {dep['path']} changed; run `dvc repro`"
                    )
    assert compared > 50


def test_dvc_would_run_nothing() -> None:
    """DVC itself, data left aside, finds every stage up to date."""
    dvc = Path(sys.executable).parent / "dvc"
    command = [str(dvc), "repro", "--dry", "--allow-missing"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "Running stage" not in run.stdout, run.stdout[-2000:]
