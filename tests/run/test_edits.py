"""What an edit of params.yaml reaches: an anchor that many systems share is not changed unnoticed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core.params import read_tree
from pipeline.run.edits import MOST_LINES, edits, told

SECTIONS = {"finetune@a": "systems.a", "finetune@b": "systems.b", "other": "other"}


def params(steps: int) -> str:
    return f"systems:\n  a: &shared {{steps: {steps}, rate: 1.0}}\n  b: {{<<: *shared, rate: 2.0}}\nother: {{x: 1}}\n"


def write_lock(path: Path, tree: dict[str, Any]) -> None:
    """The lock that DVC would have written with these params."""
    value = {name: tree[name.split(".")[0]] for name in SECTIONS.values()}
    value |= {f"systems.{name}": tree["systems"][name] for name in "ab"}
    stages = {stage: {"cmd": "x", "params": {"params.yaml": {name: value[name]}}} for stage, name in SECTIONS.items()}
    path.write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def test_an_edit_of_an_anchor_names_every_system_that_follows_it(tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    write_lock(lock, yaml.safe_load(params(240)))
    assert edits(yaml.safe_load(params(240)), lock) == {}
    assert told(edits(yaml.safe_load(params(300)), lock)) == [
        "params: systems.a.steps 240 -> 300 (read by finetune@a)",
        "params: systems.b.steps 240 -> 300 (read by finetune@b)",
    ]


def test_a_number_that_dvc_writes_without_a_point_is_no_edit(tmp_path: Path) -> None:
    """DVC's YAML is 1.2, where 1e-06 is a number; PyYAML's is 1.1, where it is a word."""
    lock = tmp_path / "dvc.lock"
    lock.write_text("stages: {one: {cmd: x, params: {params.yaml: {systems.a: {rate: 1e-06, other: -2.5E+3}}}}}\n")
    assert edits({"systems": {"a": {"rate": 1.0e-6, "other": -2500.0}}}, lock) == {}


def test_no_lock_and_a_section_that_is_gone_are_no_edits(tmp_path: Path) -> None:
    lock, tree = tmp_path / "dvc.lock", yaml.safe_load(params(240))
    assert edits(tree, lock) == {}
    lock.write_text("")
    assert edits(tree, lock) == {}
    write_lock(lock, tree)
    assert edits({"systems": {"a": tree["systems"]["a"]}}, lock) == {}


def test_many_edits_end_in_a_count() -> None:
    lines = told({f"params: x{number:03} 1 -> 2": ["stage"] for number in range(MOST_LINES + 3)})
    assert len(lines) == MOST_LINES + 1
    assert lines[-1] == "params: and 3 edits more; `dvc params diff` has all"


@pytest.mark.slow
def test_the_stage_prints_it_of_the_params_that_ship(workspace: Path, root: Path) -> None:
    """`&train` of the demo's file: one edited word, and every stage whose values follow it is named."""
    tree = read_tree(root / "params.yaml")
    trainings = {f"finetune@{name}": f"systems.{line['system']}" for name, line in tree["graph"]["trainings"].items()}
    stages = {
        stage: {"cmd": "x", "params": {"params.yaml": {name: tree["systems"][name.removeprefix("systems.")]}}}
        for stage, name in trainings.items()
    }
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    text = (root / "params.yaml").read_text()
    assert text.count("clip_norm: 1.0\n") == 1
    Path("params.yaml").write_text(text.replace("clip_norm: 1.0\n", "clip_norm: 2.0\n"))
    command = [sys.executable, "-m", "stages.check_params"]
    run = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root)})
    assert run.returncode == 0, run.stderr
    said = [line for line in run.stdout.splitlines() if line.startswith("params: ")]
    assert all("clip_norm 1.0 -> 2.0" in line for line in said)
    assert {name for stage, name in trainings.items() if any(stage in line for line in said)} == set(trainings.values())
