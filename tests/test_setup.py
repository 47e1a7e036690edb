"""Set-up: what it refuses before it takes time, and what it asks uv for."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.core.code import ROOT

LOCK = (ROOT / "requirements.lock").read_text()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What set-up reads, and a uv that writes down what it is asked for."""
    for name in ("tools/setup.sh", "tools/install.sh", "requirements.lock", "demo/requirements.lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    uv = tmp_path / "venv/bin/uv"
    uv.parent.mkdir(parents=True)
    uv.write_text('#!/bin/sh\necho "$@" >>asked.txt\n')
    uv.chmod(0o755)
    return tmp_path


def sh(clone: Path, *arguments: str, bytecode: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if not bytecode:
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return subprocess.run(["sh", *arguments], cwd=clone, capture_output=True, text=True, env=environment)


def asked(clone: Path, *torch: str, bytecode: bool = True) -> list[str]:
    run = sh(clone, "tools/install.sh", "venv", *torch, bytecode=bytecode)
    assert run.returncode == 0, run.stderr
    common = "pip install --quiet --python venv/bin/python "
    return [line.removeprefix(common) for line in (clone / "asked.txt").read_text().splitlines()]


def test_everything_comes_by_the_locks_digests(clone: Path) -> None:
    assert asked(clone) == [
        "--require-hashes -r requirements.lock",
        "--no-deps --require-hashes -r demo/requirements.lock",
        "--no-deps --no-build-isolation --editable .",
    ]


def test_torch_without_cuda_keeps_the_locks_versions(clone: Path) -> None:
    pins = dict(re.findall(r"^(torch|torchvision)==(\S+)", LOCK, re.MULTILINE))
    lines = asked(clone, "cpu")
    assert lines[:2] == [
        "--require-hashes --excludes venv/without.txt -r requirements.lock",
        f"--no-deps --torch-backend cpu torch=={pins['torch']} torchvision=={pins['torchvision']}",
    ]
    assert len(lines) == 4
    without = (clone / "venv/without.txt").read_text().split()
    assert {"torch", "torchvision", "triton"} <= set(without)
    names = re.findall(r"^([\w.-]+)==", LOCK, re.MULTILINE)
    assert {name for name in names if name.startswith(("nvidia-", "cuda-"))} <= set(without) <= set(names)
    assert "timm" not in without


@pytest.mark.parametrize("torch", [[], ["cpu"]])
def test_where_python_may_not_write_bytecode_it_is_made_at_once(clone: Path, torch: list[str]) -> None:
    locked = [line for line in asked(clone, *torch, bytecode=False) if not line.startswith("--no-deps --require")]
    assert all(line.startswith("--compile-bytecode ") for line in locked[:-1])
    assert len(locked) == 2 + len(torch) and "--editable" in locked[-1]


def test_line_ends_are_not_translated_whatever_git_is_told(tmp_path: Path) -> None:
    """`core.autocrlf` would make every digest another one, and set-up's scripts unreadable to the shell."""
    for name in (".gitattributes", "requirements.lock", "tools/setup.sh", "docs/report.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "core.autocrlf=true")
    for command in (
        ("init", "-q"),
        ("add", "."),
        ("commit", "-qm", "x"),
        ("rm", "-rq", "."),
        ("checkout", "-q", "HEAD", "--", "."),
    ):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    for name in ("requirements.lock", "tools/setup.sh", "docs/report.png"):
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes(), name


def test_an_unknown_torch_and_a_folder_without_git_are_told_before_anything_is_made(clone: Path) -> None:
    run = sh(clone, "tools/setup.sh", "new", "uv==0", "cu999")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "error: TORCH=cu999 is not known; give TORCH=cpu, or leave it out for the torch of the lock\n"
    run = sh(clone, "tools/setup.sh", "new", "uv==0", "cpu")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("error: this is no git clone") and run.stderr.count("\n") == 1
    assert not (clone / "new").exists()
