"""A lock that is not the commit's although nobody has edited anything: the program says why."""

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core.errors import MienError
from pipeline.run.relocked import why_relocked
from tests.clones import commit


def entry(deps: dict[str, str], outs: dict[str, str], **more: Any) -> dict[str, Any]:
    lines = [[{"path": path, "md5": md5} for path, md5 in found.items()] for found in (deps, outs)]
    return {"cmd": "x", "deps": lines[0], "outs": lines[1]} | more


LOCK = {
    "ingest": entry({"data": "1"}, {"artifacts/manifest": "2"}),
    "pretrain": entry(
        {"artifacts/manifest": "2"},
        {"artifacts/mae": "3", "artifacts/runs/pretrain": "4"},
        params={"params.yaml": {"steps": 3}},
    ),
    "train": entry({"artifacts/mae": "3"}, {"artifacts/s": "5"}),
}


def write(stages: dict[str, Any]) -> None:
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


@pytest.fixture
def stages(workspace: Path) -> dict[str, Any]:
    """A committed lock, and a copy to change."""
    write(LOCK)
    commit(workspace)
    return copy.deepcopy(LOCK)


def test_other_bytes_from_the_same_inputs_are_explained(stages: dict[str, Any]) -> None:
    stages["pretrain"]["outs"][0]["md5"] = stages["train"]["deps"][0]["md5"] = "x"
    stages["train"]["outs"][0]["md5"] = "y"
    write(stages)
    told = why_relocked()
    assert "dvc.lock: pretrain made other bytes" in told and "2 stages with all that follows" in told
    assert "git restore dvc.lock" in told and "\n" not in told
    subprocess.run(["git", "add", "dvc.lock"], check=True)  # staged is not committed
    assert why_relocked() == told


def test_what_an_edit_explains_is_not_told(stages: dict[str, Any]) -> None:
    assert why_relocked() == ""
    stages["pretrain"]["outs"][1]["md5"] = "another run's record"
    write(stages)
    assert why_relocked() == ""
    stages["pretrain"]["outs"][0]["md5"] = stages["train"]["deps"][0]["md5"] = "x"
    stages["train"]["outs"][0]["md5"] = "y"
    stages["pretrain"]["params"]["params.yaml"]["steps"] = 4
    write(stages)
    assert why_relocked() == ""


def test_without_a_commit_or_a_lock_nothing_is_told(workspace: Path) -> None:
    assert why_relocked() == ""
    write(LOCK)
    assert why_relocked() == ""


@pytest.mark.parametrize("text", ["<<<<<<< ours\nschema: '2.0'\n", "[a]", "stages: [a]", "stages: {a: b}"])
def test_what_is_no_lock_is_one_line(workspace: Path, text: str) -> None:
    Path("dvc.lock").write_text(text)
    with pytest.raises(MienError, match=r"dvc\.lock: not a lock of DVC; restore it with `git restore dvc\.lock`"):
        why_relocked()
