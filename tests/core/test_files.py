"""An output is complete or absent: what stands after a failure, and that nothing is left lying about."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.files import MACHINE, atomic_dir, atomic_path, atomic_write_bytes, atomic_write_text, content_digest


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_replaces_and_creates_folders(tmp_path):
    target = tmp_path / "a" / "b.txt"
    atomic_write_text(target, "first\r\nline\n")
    assert target.read_bytes() == b"first\r\nline\n"  # line ends are not translated
    atomic_write_bytes(target, b"second")
    assert target.read_bytes() == b"second"
    assert names(target.parent) == ["b.txt"]


def test_failure_leaves_the_old_file(tmp_path):
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        assert target.read_bytes() == b"old"  # not touched while the new one grows
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["out.bin"]


def test_forgotten_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "out.bin"):
        pass
    assert names(tmp_path) == []


def test_directory_takes_the_place_of_the_old_one(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "stale").write_text("old")
    with atomic_dir(target) as new:
        assert names(new) == []
        (new / "deep").mkdir()
        (new / "deep" / "file").write_text("new")
        assert names(target) == ["stale"]
    assert names(target) == ["deep"]
    assert (target / "deep" / "file").read_text() == "new"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_failure_leaves_the_old_directory(tmp_path, error):
    target = tmp_path / "out"
    target.mkdir()
    (target / "kept").write_text("old")
    with pytest.raises(error), atomic_dir(target) as new:
        (new / "half").write_text("half")
        raise error
    assert names(target) == ["kept"]
    assert names(tmp_path) == ["out"]


def test_failure_before_the_first_directory_leaves_none(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_dir(tmp_path / "out") as new:
        (new / "half").write_text("half")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_leftovers_of_a_killed_process_do_not_leak_into_the_next(tmp_path):
    with atomic_dir(tmp_path / "out") as first:
        name = first.name
    (tmp_path / name).mkdir()
    (tmp_path / name / "garbage").write_text("of a killed run with the same process id")
    with atomic_dir(tmp_path / "out") as new:
        (new / "file").write_text("x")
    assert names(tmp_path / "out") == ["file"]


def test_what_a_killed_process_left_goes_with_the_next_write_there(tmp_path):
    waited, zombie = (subprocess.Popen([sys.executable, "-c", ""]) for _ in range(2))
    waited.wait()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays until somebody waits for it
    folder = tmp_path / "systems"
    (folder / f".vit.tmp-{MACHINE}-{waited.pid}/deep").mkdir(parents=True)
    (folder / f".emma.json.tmp-{MACHINE}-{zombie.pid}").write_text("half")
    kept = [f".vit.tmp-{MACHINE}-{os.getppid()}", f".dan.tmp-{MACHINE}-{os.getpid()}"]
    kept += [f".dtm.tmp-0badcafe-{waited.pid}", ".notes.tmp-x", ".tmp-7", f"vit.tmp-{MACHINE}-{waited.pid}"]
    for name in kept:
        (folder / name).write_text("of a process that lives, or of somebody else")
    with atomic_dir(folder / "vit") as new:
        assert names(folder) == sorted([*kept, new.name])
    assert names(folder) == sorted([*kept, "vit"])
    zombie.wait()


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
