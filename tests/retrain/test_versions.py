"""What DVC holds at a commit, read from its lock and cache: folders and single files, of a stage and added."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.core.errors import MienError
from pipeline.retrain.git import commit, git
from pipeline.retrain.versions import Versions

STAGE = {"cmd": "mkdir -p out && echo 1 > out/a.txt && echo 2 > out/b.parquet && echo 3 > one", "outs": ["out", "one"]}


def dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments, "-q"], check=True)


@pytest.fixture
def held(workspace) -> Versions:
    git("init", "-q")
    dvc("init")
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": STAGE}}))
    release = Path("data/raw/demo/videos")
    release.mkdir(parents=True)
    (release / "1.mp4").write_text("one")
    dvc("add", "data/raw/demo")
    dvc("repro")
    git("add", "-A")
    commit(workspace, "all")
    return Versions()


@pytest.mark.slow
def test_what_a_commit_holds(held, workspace):
    assert held.data("HEAD").files == {"videos/1.mp4": "f97c5d29941bfb1b2fdab0874906ab82"}
    assert held.outs("HEAD") == ["one", "out", "data/raw/demo"]
    assert all(held.has("HEAD", out) for out in held.outs("HEAD")) and not held.has("HEAD", "nowhere")
    held.fetch("HEAD", "out", workspace / "copy", without=".parquet")
    assert [(path.name, path.read_text()) for path in (workspace / "copy").iterdir()] == [("a.txt", "1\n")]


@pytest.mark.slow
def test_what_the_cache_lacks_is_told(held, workspace):
    held.place("b026324c6904b2a9cb4b88d6d61c81d1").unlink()  # of "1\n"
    assert held.has("HEAD", "one") and not held.has("HEAD", "out")
    with pytest.raises(MienError, match=r"DVC's cache lacks out as it was at HEAD; `dvc fetch"):
        held.fetch("HEAD", "out", workspace / "copy")
    git("rm", "-q", "--cached", "data/raw/demo.dvc")
    commit(workspace, "no pointer")
    with pytest.raises(MienError, match="data/raw/demo is unknown to DVC"):
        held.data("HEAD")
