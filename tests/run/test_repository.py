"""What DVC refuses is one line, whichever command meets it."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import MienError
from pipeline.run.pace import expected_seconds
from pipeline.run.repository import drop_empty_runs, nobody_writes, repository


@pytest.mark.parametrize("command", [["runs"], ["repro"], ["why", "x"], ["audit", "x"], ["trace", "x", "1"]])
def test_outside_of_a_project_a_command_says_so(tmp_path: Path, root: Path, command: list[str], monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(root))
    run = subprocess.run([sys.executable, "-m", "pipeline", *command], cwd=tmp_path, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("error: you are not inside of a DVC repository") and run.stderr.count("\n") == 1
    assert run.stderr.endswith("run from the project's root\n")


def test_a_damaged_graph_is_one_line(workspace: Path) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True)
    Path("dvc.yaml").write_text("stages: {one: {cmd: [")
    told = r"^unable to read: 'dvc.yaml', YAML file structure is corrupted; "
    with pytest.raises(MienError, match=told), repository() as repo:
        print(repo.index.graph)


def test_how_long_it_takes_needs_no_params(workspace: Path) -> None:
    assert expected_seconds(["one"]) == {}


def test_a_run_that_was_never_written_down_stops_no_stage(workspace: Path) -> None:
    """DVC makes a run's folder first and the run then; killed between them, it says `join() argument must be str`."""
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "-q", "--no-scm"], check=True)
    Path("dvc.yaml").write_text("stages: {one: {cmd: cp here there, deps: [here], outs: [there]}}")
    Path("here").write_text("1")
    for text in ("1", "2"):
        Path("here").write_text(text)
        subprocess.run([*dvc, "repro", "-q"], check=True)
    kept, lost = sorted(Path(".dvc/cache/runs").glob("*/*/*"), key=lambda path: path.stat().st_mtime)
    lost.unlink()
    Path("dvc.lock").unlink()
    Path("there").unlink()
    with nobody_writes() as run_cache:
        drop_empty_runs(run_cache)
    assert kept.is_file() and not lost.parent.exists()
    assert subprocess.run([*dvc, "repro", "-q"], check=False).returncode == 0
    assert Path("there").read_text() == "2"
