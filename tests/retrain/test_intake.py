"""Which arrivals are taken, where they go, and the reason for each that is not."""

from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from pipeline.faces.media import Frame
from pipeline.retrain.held import Held
from pipeline.retrain.kinds import label_place
from pipeline.retrain.recordings import _decoded
from tests.retrain.case import FRAMES, OLD, Case, labels, told, video


def test_a_recording_with_its_labels(case):
    video(case.inbox / "3.avi", 100)
    labels(case.inbox / "3.txt")
    labels(case.inbox / "EXPR_Set/Validation_Set/3.txt", "expr", row="4")
    intake = case.decide()
    assert told(intake.taken) == {
        "3.avi": "videos/3.avi",
        "3.txt": "annotations/VA_Estimation_Challenge/Train_Set/3.txt",
        "EXPR_Set/Validation_Set/3.txt": "annotations/EXPR_Set/Validation_Set/3.txt",
    }
    assert intake.bad == intake.waiting == {}


def test_what_is_there_already_is_known(case):
    (case.inbox / "1.avi").write_bytes((case.root / "release/videos/1.avi").read_bytes())
    labels(case.inbox / "1.txt")
    intake = case.decide()
    assert intake.known == 2 and not (intake.taken or intake.bad or intake.waiting)


def test_new_labels_for_an_old_recording(case):
    labels(case.inbox / "1.txt", row="0.1,0.1")
    assert told(case.decide().taken) == {"1.txt": OLD}


@pytest.mark.parametrize("side", ["left", "right"])
def test_two_people_of_one_recording(case, side):
    video(case.inbox / "3.avi", 100)
    labels(case.inbox / f"3_{side}.txt")
    assert set(told(case.decide().taken)) == {"3.avi", f"3_{side}.txt"}


def test_halves_wait_for_each_other(case):
    video(case.inbox / "3.avi", 100)
    labels(case.inbox / "4.txt")
    assert told(case.decide().waiting) == {
        "4.txt": "no video 4 is here or in the release",
        "3.avi": "no label file of it that can be taken is here",
    }


def same_recording(case: Case) -> None:
    (case.inbox / "3.avi").write_bytes((case.root / "release/videos/1.avi").read_bytes())


def same_twice(case: Case) -> None:
    video(case.inbox / "0.avi", 100)
    (case.inbox / "3.avi").write_bytes((case.inbox / "0.avi").read_bytes())


def known_name(case: Case) -> None:
    video(case.inbox / "2.avi", 100)


def broken_off(case: Case) -> None:
    whole = video(case.inbox / "3.avi", 100, frames=40).read_bytes()
    (case.inbox / "3.avi").write_bytes(whole[: len(whole) // 2])


def no_video(case: Case) -> None:
    (case.inbox / "3.avi").write_bytes(b"\0" * 500)


def odd_name(case: Case) -> None:
    video(case.inbox / "holiday.avi", 100)


def long_labels(case: Case) -> None:
    labels(case.inbox / "1.txt", rows=FRAMES + 9)


def broken_labels(case: Case) -> None:
    labels(case.inbox / "1.txt", row="0.5,2.5")


def headless(case: Case) -> None:
    (case.inbox / "1.txt").write_text("what is this\n")


def empty_labels(case: Case) -> None:
    labels(case.inbox / "1.txt", rows=0)


def other_split(case: Case) -> None:
    labels(case.inbox / "2.txt", row="0.1,0.1")


def second_labels(case: Case) -> None:
    labels(case.inbox / "1.txt", row="0.1,0.1")
    labels(case.inbox / "again/1.txt", row="0.2,0.2")


def a_note(case: Case) -> None:
    (case.inbox / "notes.docx").write_text("hello")


@pytest.mark.parametrize(
    ("arrive", "name", "reason"),
    [
        (same_recording, "3.avi", "the same recording as videos/1.avi, under another name"),
        (same_twice, "3.avi", "the same recording as 0.avi, under another name"),
        (known_name, "2.avi", "another recording has this name, videos/2.avi; give it another"),
        (broken_off, "3.avi", "a copy that broke off; copy it again"),
        (no_video, "3.avi", "no frame decodes: damaged, or a copy that broke off; copy it again"),
        (odd_name, "holiday.avi", "'holiday' is no official name of a recording"),
        (long_labels, "1.txt", "15 rows, but the video has 6 frames; row i is frame i"),
        (broken_labels, "1.txt", "line 2: "),
        (headless, "1.txt", "line 1 is no header of EXPR, AU or VA"),
        (empty_labels, "1.txt", "it has no rows"),
        (other_split, "2.txt", "VA has this recording in its validation split"),
        (second_labels, "again/1.txt", "a second VA label file of 1; keep one of them"),
        (a_note, "notes.docx", "neither a video nor a label file"),
    ],
)
def test_a_bad_file_is_told_and_stops_nothing_else(case, arrive, name, reason):
    arrive(case)
    video(case.inbox / "9.avi", 150)
    labels(case.inbox / "9.txt")
    intake = case.decide()
    assert reason in told(intake.bad)[name] and len(intake.bad) == 1
    assert {"9.avi", "9.txt"} <= set(told(intake.taken))


def test_crops_are_recordings_too():
    held = Held.of({"cropped_aligned/7_left/00001.jpg": "a", "shards/cropped_aligned/8/00000.parquet": "b"})
    assert held.has("7_left") and held.has("8") and not held.has("7")


def test_the_pool_is_not_recordings():
    assert Held.of({"unlabelled/7.mp4": "a", "C-EXPR-DB/8.mp4": "b", "batch/9.mp4": "c"}).videos == {"9": "batch/9.mp4"}


def test_places_of_label_files():
    assert label_place(PurePosixPath("x/AU_Detection_Challenge/Validation_Set/1.txt")) == ("au", "validation")
    assert label_place(PurePosixPath("Train_Set/1.txt")) is None
    assert label_place(PurePosixPath("AU_Set/notes/1.txt")) is None


def test_frames_that_do_not_decode_are_not_counted(monkeypatch):
    """Ten are in the container, four of them damaged: the reader gives them without an image."""
    picture, damaged = np.zeros((4, 4, 3), np.uint8), (3, 4, 5, 6)
    frames = [Frame(number, number / 25, None if number in damaged else picture) for number in range(1, 11)]
    monkeypatch.setattr("pipeline.retrain.recordings.read_frames", lambda path: iter(frames))
    assert _decoded(Path("x.mp4")) == 6
