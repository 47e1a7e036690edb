"""The graph is DVC's: what the flows see of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from pipeline.abaw.tracks import TRAINED_TRACKS
from pipeline.core.errors import MienError
from pipeline.run.dag import stage_order, stale_stages

CHAIN = {"a": "in", "b": "a", "c": "b"}
# What a system of one track takes from another track by design: EMMA's frozen network, AU-CVT's teacher.
BORROWED = {"mtl": {"finetune@dan-lsd"}, "lsd": {"pseudo_label_aus@mae"}}


def dot_edges(text: str) -> tuple[set[str], set[tuple[str, str]]]:
    """Stages and (upstream, downstream) pairs of `dvc dag --dot`."""
    stages = set(re.findall(r'^\s*"([^"]+)";$', text, re.MULTILINE))
    return stages, set(re.findall(r'^\s*"([^"]+)" -> "([^"]+)";$', text, re.MULTILINE))


@pytest.fixture(scope="module")
def order(root) -> dict[str, list[str]]:
    return stage_order(root)


@pytest.mark.slow
def test_order_is_dvc_own_graph(root, order):
    run = subprocess.run([sys.executable, "-m", "dvc", "dag", "--dot"], cwd=root, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    stages, edges = dot_edges(run.stdout)
    assert edges and "demo/dvc.yaml:synthesize" in stages
    assert set(order) == stages
    assert {(upstream, stage) for stage, needs in order.items() for upstream in needs} == edges


def test_upstream_comes_first(order):
    seen: set[str] = set()
    for stage, needs in order.items():
        assert set(needs) <= seen, stage
        seen.add(stage)


def track_of(stage: str) -> str:
    """The track whose labels a stage reads, by its name; empty for the stages that read none."""
    if stage == "cache_features@feedback":
        return "expr"
    if stage.startswith("pseudo_label_aus"):
        return "au"
    last = re.split("[@-]", stage)[-1] if "@" in stage else ""
    return last if last in TRAINED_TRACKS else ""


@pytest.mark.parametrize("track", TRAINED_TRACKS)
def test_tracks_do_not_mix(order, track):
    """Uni-task by the rules: no stage of one track depends on a stage of another, but for the borrowed networks."""
    above, queue = set(), [f"submit@{track}"]
    while queue:
        stage = queue.pop()
        above.add(stage)
        queue += order[stage]
    assert {track_of(stage) for stage in above} >= {track, ""}
    assert {stage for stage in above if track_of(stage) not in (track, "")} == BORROWED.get(track, set())


def test_until_touches_no_other_track(root, order):
    wanted = stage_order(root, ["submit@va"])
    assert set(wanted) == {
        *("code", "check_params", "demo/dvc.yaml:synthesize", "ingest", "detect_align", "pretrain_mae@mae"),
        *("finetune@vit-va", "cache_features@vit-va", "finetune@temporal-va", "ensemble@va", "submit@va"),
    }
    assert all(order[stage] == needs for stage, needs in wanted.items())
    with pytest.raises(MienError, match="there is no stage submit@vaa, perhaps submit@va; `dvc stage list` names all"):
        stage_order(root, ["submit@vaa"])


@pytest.mark.slow
def test_stale_stages_are_those_that_dvc_would_run(tmp_path, monkeypatch):
    """Changed deps, a changed command and a lost output; what only lies below them is not stale yet."""
    stages = {name: {"cmd": f"cp {dep} {name}", "deps": [dep], "outs": [name]} for name, dep in CHAIN.items()}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (tmp_path / "in").write_text("1")
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    assert stale_stages(list(CHAIN)) == set(CHAIN)
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=tmp_path, check=True)
    assert stale_stages(list(CHAIN)) == set()
    (tmp_path / "in").write_text("2")
    assert stale_stages(list(CHAIN)) == {"a"} and stale_stages(["b", "c"]) == set()
    (tmp_path / "in").write_text("1")
    (tmp_path / "b").unlink()
    stages["c"]["cmd"] = "cp -f b c"
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    assert stale_stages(list(CHAIN)) == {"b", "c"}
    with Repo() as repo, repo.lock:  # at work elsewhere: each stage is asked when its turn comes
        assert stale_stages(list(CHAIN)) == set(CHAIN)


def test_dvc_finds_its_pointers_where_the_data_lie(root, tmp_path, monkeypatch):
    """No pattern of .gitignore may hide data/raw or weights from DVC: it would check out and push nothing of them."""
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    (tmp_path / ".gitignore").write_text((root / ".gitignore").read_text())
    pointer = "outs:\n- md5: 9dd4e461268c8034f5c8564e155c67a6\n  path: {}\n"
    for name in ("data/raw/mine", "weights/one.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / f"{name}.dvc").write_text(pointer.format(Path(name).name))
    with Repo() as repo:
        assert {stage.addressing for stage in repo.index.stages} == {"data/raw/mine.dvc", "weights/one.safetensors.dvc"}
    rendered = [f"data/{name}/file" for name in ("raw/demo", "demo_truth", "inbox", "set_aside")]
    run = subprocess.run(["git", "check-ignore", *rendered], capture_output=True, text=True)
    assert run.stdout.split() == rendered
