"""The content-addressed work store: keys, links, one generation a stage."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.core import workstore
from pipeline.core.files import file_digest
from pipeline.core.workstore import STORE, is_sealed, known_digest, link, prune, seal, stored, training_folder, work_key


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


def test_training_folder_changes_with_params_and_inputs(workspace):
    Path("in").write_text("1")
    folder = training_folder("stage", {"seed": 0}, [Path("in")])
    assert folder.parent == STORE / "stage"
    assert training_folder("stage", {"seed": 0}, [Path("in")]) == folder
    assert training_folder("stage", {"seed": 1}, [Path("in")]) != folder
    assert training_folder("stage", {"seed": 0}, [Path("in"), Path("absent")]) != folder
    Path("in").write_text("2")
    assert training_folder("stage", {"seed": 0}, [Path("in")]) != folder


# --- seals -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shard(workspace: Path) -> Path:
    path = stored("one", "key", ".parquet")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a shard of some bytes")
    seal(path)
    return path


def damaged(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_sealed_shard_is_taken(shard):
    assert is_sealed(shard) and shard.read_bytes() == b"a shard of some bytes"
    assert not shard.stat().st_mode & 0o222  # outs may be links to it: nobody writes


@pytest.mark.parametrize("data", [b"a shard of some byteS", b"a shard of", b"", b"a shard of some bytes!"])
def test_a_shard_that_is_not_what_was_sealed_is_dropped(shard, data):
    damaged(shard, data)
    assert not is_sealed(shard)
    assert not shard.exists() and not list(shard.parent.iterdir())


def test_a_shard_without_its_seal_is_dropped(shard):
    next(shard.parent.glob("*.sha256")).unlink()
    assert not is_sealed(shard) and not shard.exists()


@pytest.mark.parametrize("text", ["", "0" * 64, "\xff"])
def test_a_seal_that_does_not_fit_drops_its_shard(shard, text):
    next(shard.parent.glob("*.sha256")).write_bytes(text.encode("latin-1"))
    assert not is_sealed(shard) and not shard.exists()


def test_prune_keeps_the_seal_of_what_it_keeps(shard):
    other = stored("one", "other", ".parquet")
    other.write_bytes(b"old")
    seal(other)
    prune("one", [shard])
    assert is_sealed(shard) and sorted(path.name for path in shard.parent.iterdir()) == [
        "key.parquet",
        "key.parquet.sha256",
    ]


def aged(path: Path, text: str, seconds: int = 60) -> Path:
    path.write_text(text)
    past = path.stat().st_mtime_ns - seconds * 10**9
    os.utime(path, ns=(past, past))
    return path


def test_an_input_is_hashed_once_until_it_changes(workspace, monkeypatch):
    hashed = []

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return file_digest(path)

    monkeypatch.setattr(workstore, "file_digest", counted)
    monkeypatch.setattr(workstore, "SETTLED_NS", 0)
    path = aged(Path("in.parquet"), "one")
    first = known_digest(path)
    assert known_digest(path) == first == file_digest(path) and hashed == ["in.parquet"]
    before = path.stat()
    path.write_text("two")  # as long, and its time put back: the inode's own time tells
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known_digest(path) == file_digest(path) != first and len(hashed) == 2
    path.unlink()
    aged(path, "one")
    assert known_digest(path) == first and len(hashed) == 3
    (memo,) = (STORE / "digests").iterdir()  # one a file, whatever happened to it
    memo.write_text("{torn")
    assert known_digest(path) == first and len(hashed) == 4


def test_a_file_that_has_just_changed_is_not_remembered(workspace):
    path = Path("in.parquet")
    path.write_text("one")
    known_digest(path)
    assert not (STORE / "digests").exists()
