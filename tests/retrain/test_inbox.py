"""What lies in the inbox: whole files alone, and nothing lost of those that are set aside."""

import os
import time

import pytest

from pipeline.retrain import inbox
from pipeline.retrain.inbox import look, set_aside


@pytest.fixture
def place(workspace):
    folder = workspace / "inbox"
    folder.mkdir()
    return folder


def names(found) -> list[str]:
    return [arrival.name for arrival in found.whole]


def test_an_absent_inbox_is_an_empty_one(workspace):
    assert look(workspace / "nowhere", 0) == inbox.Look([], [])


def test_a_file_that_is_being_written_is_left(place):
    (place / "122.mp4").write_bytes(b"half")
    assert look(place, 60).unsettled == ["122.mp4"] and look(place, 60).whole == []
    time.sleep(0.6)
    assert names(look(place, 0.5)) == ["122.mp4"]
    with (place / "122.mp4").open("ab") as file:
        file.write(b" and more")
    os.utime(place / "122.mp4", (0, 0))  # a copy that keeps times: the inode's own time tells
    assert look(place, 0.5).unsettled == ["122.mp4"]


def test_partial_names_and_hidden_files(place):
    for name in ("122.mp4.part", ".123.mp4.Xy3", "124.mp4"):
        (place / name).write_bytes(b"x")
    found = look(place, 0)
    assert names(found) == ["124.mp4"] and found.unsettled == ["122.mp4.part"]


def test_what_is_known_is_not_read_again(place, monkeypatch):
    (place / "below").mkdir()
    (place / "below/122.txt").write_bytes(b"x")
    (first,) = look(place, 0).whole
    assert (first.name, first.md5) == ("below/122.txt", "9dd4e461268c8034f5c8564e155c67a6")
    monkeypatch.setattr(inbox, "file_digest", lambda *_: pytest.fail("read again"))
    assert look(place, 0).whole == [first]
    monkeypatch.undo()
    (place / "below/122.txt").write_bytes(b"y")
    assert look(place, 0).whole[0].md5 != first.md5


def test_torn_memory_is_read_anew(place):
    (place / "122.txt").write_bytes(b"x")
    inbox.DIGESTS.parent.mkdir(parents=True, exist_ok=True)
    for text in ("{", "[1]"):
        inbox.DIGESTS.write_text(text)
        assert names(look(place, 0)) == ["122.txt"]


def test_setting_aside_overwrites_nothing(place, workspace):
    for content in ("one", "two"):
        (place / "122.mp4").write_text(content)
        (arrival,) = look(place, 0).whole
        set_aside(arrival, f"{content} is bad", workspace / "aside")
    held = {path.name: path.read_text() for path in (workspace / "aside").iterdir()}
    assert held == {
        "122.mp4": "one",
        "122.mp4.reason.txt": "one is bad\n",
        "122.2.mp4": "two",
        "122.2.mp4.reason.txt": "two is bad\n",
    }
    assert list(place.iterdir()) == []
