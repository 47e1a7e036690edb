"""The content-addressed work store: keys, links, one generation a stage."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.base.closure import ROOT, code_digest, import_closure
from pipeline.base.work import STORE, link, prune, stored, work_key
from pipeline.train.work import content_digest, training_folder


def test_key_does_not_depend_on_order():
    assert work_key(a=1, b={"x": 1, "y": 2}) == work_key(b={"y": 2, "x": 1}, a=1)
    assert len(work_key()) == 64


@pytest.mark.parametrize("other", [{"a": 2, "b": "1"}, {"a": 1, "b": 1}, {"a": 1, "c": "1"}, {"a": 1}])
def test_key_tells_everything_apart(other):
    assert work_key(a=1, b="1") != work_key(**other)


def test_stored_path():
    assert stored("detect_align", "abc", ".parquet") == STORE / "detect_align" / "abc.parquet"


def test_link_gives_the_same_bytes_and_replaces(tmp_path):
    source, target = tmp_path / "source", tmp_path / "outs" / "target"
    source.write_bytes(b"shard")
    link(source, target)
    assert target.read_bytes() == b"shard"
    source2 = tmp_path / "source2"
    source2.write_bytes(b"newer")
    link(source2, target)
    assert target.read_bytes() == b"newer" and source.read_bytes() == b"shard"
    target.unlink()  # as DVC does before a run
    assert source2.read_bytes() == b"newer"


def test_link_copies_where_links_are_not_to_be_had(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "source").write_bytes(b"shard")
    link(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"shard"
    assert (tmp_path / "target").stat().st_ino != (tmp_path / "source").stat().st_ino


def test_prune_drops_only_what_the_stage_no_longer_uses(workspace):
    for name in ("one/a.parquet", "one/b.parquet", "one/folder/deep", "two/a.parquet"):
        (STORE / name).parent.mkdir(parents=True, exist_ok=True)
        (STORE / name).write_text(name)
    prune("one", [STORE / "one" / "b.parquet"])
    left = sorted(path.relative_to(STORE).as_posix() for path in STORE.rglob("*") if path.is_file())
    assert left == ["one/b.parquet", "two/a.parquet"]
    prune("never-ran", [])


def test_content_digest_sees_names_and_bytes(workspace):
    Path("in").mkdir()
    Path("in/a").write_text("1")
    first = content_digest([Path("in")])
    Path("in/.gitignore").write_text("DVC's own, not content")
    assert content_digest([Path("in")]) == first
    Path("in/a").write_text("2")
    second = content_digest([Path("in")])
    Path("in/a").rename("in/b")
    assert len({first, second, content_digest([Path("in")])}) == 3


def test_training_folder_changes_with_params_and_inputs(workspace):
    Path("in").write_text("1")
    folder = training_folder("stage", "pipeline.rows", {"seed": 0}, [Path("in")])
    assert folder.parent == STORE / "stage"
    assert training_folder("stage", "pipeline.rows", {"seed": 0}, [Path("in")]) == folder
    assert training_folder("stage", "pipeline.rows", {"seed": 1}, [Path("in")]) != folder
    assert training_folder("stage", "pipeline.publish", {"seed": 0}, [Path("in")]) != folder
    Path("in").write_text("2")
    assert training_folder("stage", "pipeline.rows", {"seed": 0}, [Path("in")]) != folder


def test_closure_follows_imports_of_imports():
    closure = {path.relative_to(ROOT).as_posix() for path in import_closure("pipeline.base.curves")}
    assert closure == {"pipeline/__init__.py", "pipeline/base/curves.py", "pipeline/publish.py"}
    deep = {path.relative_to(ROOT).as_posix() for path in import_closure("pipeline.train.work")}
    assert {"pipeline/base/closure.py", "pipeline/base/weights.py", "pipeline/publish.py"} < deep
    assert code_digest("pipeline.base.work") != code_digest("pipeline.publish")
    with pytest.raises(ModuleNotFoundError, match=r"pipeline\.nowhere"):
        import_closure("pipeline.nowhere")
