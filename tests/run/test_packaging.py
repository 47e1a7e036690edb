"""The wheel holds what an installed Mien reads."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipeline.core.code import ROOT


@pytest.mark.slow
def test_the_wheel_holds_pages_types_and_every_module(tmp_path: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    source = tmp_path / "source"
    for name in filter(None, tracked.split("\0")):  # built from a copy: setuptools leaves its folders behind
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = set(wheel.namelist())
    assert {"mien/py.typed", "pipeline/py.typed", "models/py.typed", "pipeline/report/page.html"} <= held
    assert {"pipeline/audit/page.html", "pipeline/retrain/page.html"} <= held
    packages = ("mien", "pipeline", "stages", "models")
    modules = [n for n in tracked.split("\0") if n.endswith(".py") and n.split("/")[0] in packages]
    assert set(modules) <= held


def test_the_command_tells_its_version() -> None:
    run = subprocess.run([sys.executable, "-m", "pipeline", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout.startswith("mien 0.")
