"""Git is asked in the folder that is named, also from within a hook."""

import subprocess
from pathlib import Path

import pytest

from pipeline.audit.states import git_bytes
from pipeline.retrain import git as retraining
from pipeline.run.git import git, run_git


@pytest.fixture
def hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new repository as the working directory; the environment of a hook points at another."""
    for name in ("mine", "hooks"):
        subprocess.run(["git", "init", "-q", str(tmp_path / name)], check=True)
    monkeypatch.chdir(tmp_path / "mine")
    for name, place in (("GIT_DIR", ".git"), ("GIT_WORK_TREE", "."), ("GIT_INDEX_FILE", ".git/index")):
        monkeypatch.setenv(name, str(tmp_path / "hooks" / place))
    return tmp_path


def test_a_hooks_repository_is_not_taken_for_the_folders(hooked: Path) -> None:
    asked = ("rev-parse", "--show-toplevel")
    mine = str(hooked / "mine")
    assert git(*asked) == git_bytes(*asked).decode().strip() == retraining.git(*asked) == mine
    assert run_git(*asked, folder=hooked / "hooks").stdout.decode().strip() == str(hooked / "hooks")
    git_bytes("hash-object", "-w", "--stdin", stdin=b"an object")
    assert not [path for path in (hooked / "hooks/.git/objects").rglob("*") if path.is_file()]


def test_without_a_repository_or_git_a_soft_question_has_no_answer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert git("rev-parse", "HEAD") == ""
    monkeypatch.setenv("PATH", "")
    assert git("--version") == ""
