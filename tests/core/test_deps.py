"""What a stage reads and writes: our reader of dvc.yaml against DVC's own."""

from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from pipeline.core.definition import stage_outs
from pipeline.core.deps import stage_deps
from pipeline.core.errors import MienError


@pytest.mark.slow
def test_deps_and_outs_are_those_that_dvc_reads(root, monkeypatch):
    monkeypatch.chdir(root)
    with Repo(str(root)) as repo:
        stages = [stage for stage in repo.index.stages if not stage.is_data_source]
        assert len(stages) > 25
        for stage in stages:
            name = stage.addressing.rpartition(":")[2]
            expected = [Path(dep.fs_path).relative_to(root) for dep in stage.deps if type(dep).__name__ == "Dependency"]
            assert stage_deps(name) == list(dict.fromkeys(expected)), name
            assert stage_outs(name) == [Path(out.fs_path).relative_to(root) for out in stage.outs], name


GRAPH = {"list": ["a", "b"], "map": {"x": {"needs": ["one", "two"], "track": "t"}}, "value": "v"}
MAPPED = ["${item.track}/${key}", "${item.needs[1]}", "${item.needs[1]}", "${map.x.needs[0]}"]
STAGES = {
    "plain": {"cmd": "c", "deps": ["in", "${value}"]},
    "listed": {"foreach": "${list}", "do": {"cmd": "c", "deps": ["in/${item}"]}},
    "mapped": {"foreach": "${map}", "do": {"cmd": "c", "deps": MAPPED}},
    "inline": {"foreach": ["p", "q"], "do": {"cmd": "c", "deps": ["${item}"]}},
    "free": {"cmd": "c"},
    "made": {"foreach": "${list}", "do": {"cmd": "c", "outs": ["out/${item}/${value}", "out/${item}/x"]}},
}


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(GRAPH))
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))


@pytest.mark.parametrize(
    ("stage", "deps"),
    [
        ("plain", ["in", "v"]),
        ("listed@b", ["in/b"]),
        ("mapped@x", ["t/x", "two", "one"]),  # each once
        ("inline@q", ["q"]),
        ("free", []),
    ],
)
def test_params_are_filled_in(graph, stage, deps):
    assert stage_deps(stage) == [Path(dep) for dep in deps]


def test_outs_are_filled_in(graph):
    assert stage_outs("made@a") == [Path("out/a/v"), Path("out/a/x")]
    assert stage_outs("free") == []


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("nowhere", "dvc.yaml: there is no stage nowhere"),
        ("mapped@y", "params.yaml: graph has no y for mapped"),
        ("listed@c", "params.yaml: graph has no c for listed"),
    ],
)
def test_unknown_stages_are_told(graph, stage, said):
    with pytest.raises(MienError) as caught:
        stage_deps(stage)
    assert str(caught.value) == said
