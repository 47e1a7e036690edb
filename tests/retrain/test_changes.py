"""What is replaced or removed: labels by other labels, all else where `changes.yaml` says so."""

import pytest

from pipeline.retrain.history import Record
from pipeline.retrain.inbox import look
from pipeline.retrain.lists import merged, without_recording
from pipeline.retrain.past import Past
from tests.retrain.case import FRAMES, OLD, Case, labels, picture, rows, told, video


def wish(case: Case, text: str) -> None:
    (case.inbox / "changes.yaml").write_text(text)


def past(case: Case, again: bool = False, **fields: dict[str, str]) -> Past:
    return Past.of([Record(kind="run", date="", commit="", **fields)], again)  # type: ignore[arg-type]


def test_other_labels_take_the_place_of_the_old_and_the_trail_counts_rows(case):
    path = labels(case.inbox / "1.txt")
    path.write_text(path.read_text().replace("0.5,0.25", "0.1,0.1", 2))
    assert case.decide().told == [f"labels of 1 (VA, train) replaced: 2 of {FRAMES} rows differ"]
    labels(case.inbox / "1.txt", rows=FRAMES - 1)
    assert case.decide().told == [f"labels of 1 (VA, train) replaced: 1 of {FRAMES} rows differ"]


def test_labels_that_were_replaced_do_not_come_back_by_themselves(case):
    """Deliveries stay in folders of their own: the older one must not undo the newer one at the next look."""
    labels(case.inbox / "june/1.txt")
    old = look(case.release, 0).whole[0]
    labels(case.release / OLD, row="0.1,0.1")
    intake = case.decide(past(case, removed={OLD: old.md5}))
    assert not intake.changes and "left the release in an earlier run" in told(intake.waiting)["june/1.txt"]
    wish(case, "replace: [june/1.txt]")
    assert told(case.decide(past(case, removed={OLD: old.md5})).taken) == {"june/1.txt": OLD}


def test_a_video_replaces_another_where_the_file_says_so(case):
    video(case.inbox / "1.avi", 200)
    assert "name 1.avi under `replace` in changes.yaml" in told(case.decide().bad)["1.avi"]
    wish(case, "replace: [1.avi]")
    intake = case.decide()
    assert told(intake.taken) == {"1.avi": "videos/1.avi"} and intake.removed == [] and not intake.bad
    assert intake.told == [f"recording 1 replaced: videos/1.avi, {FRAMES} frames"]


def test_a_video_of_another_format_leaves_no_twin(case):
    video(case.inbox / "1.avi", 200).rename(case.inbox / "1.mkv")
    wish(case, "replace: [1.mkv]")
    intake = case.decide()
    assert told(intake.taken) == {"1.mkv": "videos/1.mkv"} and intake.removed == ["videos/1.avi"]


def test_a_longer_video_needs_labels_that_fit(case):
    video(case.inbox / "1.avi", 200, frames=FRAMES + 9)
    wish(case, "replace: [1.avi]")
    assert f"it has {FRAMES + 9} frames, but {OLD} has {FRAMES} rows" in told(case.decide().bad)["1.avi"]
    labels(case.inbox / "1.txt", rows=FRAMES + 9)
    assert told(case.decide().taken) == {"1.avi": "videos/1.avi", "1.txt": OLD}


def test_labels_that_came_with_a_refused_video_wait(case):
    labels(case.release / "annotations/EXPR_Set/Train_Set/1.txt", "expr", row="4")
    video(case.inbox / "1.avi", 200, frames=FRAMES + 9)
    labels(case.inbox / "1.txt", rows=FRAMES + 9)
    wish(case, "replace: [1.avi]")
    intake = case.decide()
    assert "EXPR_Set/Train_Set/1.txt has 6 rows" in told(intake.bad)["1.avi"] and not intake.changes
    assert told(intake.waiting) == {"1.txt": "1.avi, that it came with, cannot be taken"}


def test_a_recording_is_removed_with_all_that_is_of_it(case):
    picture(case.release / "cropped_aligned/1/00001.jpg", 9)
    picture(case.release / "cropped_aligned/1_left/00001.jpg", 9)
    picture(case.release / "cropped_aligned/11/00001.jpg", 9)
    listed = rows(case.release / "mtl/training_set_annotations.txt", "1/00001.jpg", "11/00001.jpg", "1_left/00001.jpg")
    (case.inbox / "1.avi").write_bytes((case.release / "videos/1.avi").read_bytes())  # still lies in the inbox
    wish(case, "remove: [1]")
    intake = case.decide()
    assert intake.removed == [OLD, "cropped_aligned/1/00001.jpg", "cropped_aligned/1_left/00001.jpg", "videos/1.avi"]
    kept = rows(listed.with_name("x.txt"), "11/00001.jpg").read_bytes()
    assert intake.rewritten == {"mtl/training_set_annotations.txt": kept}
    assert told(intake.waiting) == {"1.avi": "changes.yaml removes 1"} and not intake.bad
    assert "2 rows of 1 removed from mtl/training_set_annotations.txt" in intake.told


def test_one_person_of_a_recording_is_removed_alone(case):
    for side in ("left", "right"):
        labels(case.release / f"annotations/AU_Set/Train_Set/1_{side}.txt", "au", row=",".join(["0"] * 12))
    wish(case, "remove: [1_left]")
    assert case.decide().removed == ["annotations/AU_Set/Train_Set/1_left.txt"]


def test_what_a_rollback_brought_back_stays(case):
    wish(case, "remove: [1]")
    gone = {name: md5 for name, _, md5 in _parts(case)}
    intake = case.decide(past(case, removed=gone))
    assert not intake.changes and "was removed and rolled back" in intake.told[0]
    assert case.decide(past(case, again=True, removed=gone)).removed  # as `mien retrain` alone does
    for name in gone:
        (case.release / name).unlink()
    assert not case.decide(past(case, removed=gone)).bad  # done before, so no unknown name
    assert not case.decide(past(case, again=True, removed=gone)).bad


def _parts(case: Case) -> list[tuple]:
    return [(a.name, a.path, a.md5) for a in look(case.release, 0).whole if a.path.stem == "1"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("remove: [999]", "remove: the release holds no recording '999'; nothing of this file was done"),
        ("remove: [../1]", "the release holds no recording '../1'"),
        ("remove: 1", "remove: must be a list of names"),
        ("delete: [1]", "it knows replace and remove"),
        ("remove: [1", "cannot be read"),
        ("remove: [1, 999]", "nothing of this file was done"),
        ("remove: [2]", "2 is in the test list test/VA_test_set_sample.txt, whose rows must all be submitted"),
    ],
)
def test_a_wish_that_cannot_be_met_is_set_aside_whole(case, text, reason):
    template = case.release / "test/VA_test_set_sample.txt"
    template.parent.mkdir()
    template.write_text("image_location,valence,arousal\n2/00001.jpg,\n")
    wish(case, text)
    intake = case.decide()
    assert reason in told(intake.bad)["changes.yaml"] and not intake.changes


def test_a_replacement_that_is_not_there_yet_waits(case):
    wish(case, "replace: [1.avi]\nremove: [2]")
    intake = case.decide()
    assert "1.avi is not in the inbox, or not whole yet" in told(intake.waiting)["changes.yaml"]
    assert "videos/2.avi" in intake.removed


def test_rows_merge_by_image_and_leave_by_recording():
    old = b"image,v\r\n1/00001.jpg,1\r\n1/00001.jpg,1\r\n2/00001.jpg,2\r\n"
    after, replaced, added = merged(old, b"image,v\n3/00001.jpg,3\n1/00001.jpg,9")
    assert after == b"image,v\n1/00001.jpg,9\n1/00001.jpg,9\n2/00001.jpg,2\n3/00001.jpg,3\n"
    assert (replaced, added) == (2, 1)
    assert merged(old, b"image,v\n2/00001.jpg,2\n") == (old, 0, 0)
    assert without_recording(old, "1") == (b"image,v\n2/00001.jpg,2\n", 2)
    assert without_recording(old, "11") == (old, 0)
