"""Crops, LSD's pictures, the pool and MTL's lists, loose and in archives: what is taken, and where it goes."""

import io
import tarfile
import zipfile

import pytest

from pipeline.retrain import unpack
from pipeline.retrain.history import Record
from pipeline.retrain.outcome import lines
from pipeline.retrain.past import Past
from tests.retrain.case import Case, labels, picture, rows, told, video

TRAIN = "lsd/training_set_synthetic_images"


def test_crops_of_a_labelled_recording(case):
    for frame in (1, 2):
        picture(case.inbox / f"crops/1/{frame:05d}.jpg", frame)
        picture(case.inbox / f"crops/7/{frame:05d}.jpg", 10 + frame)
    intake = case.decide()
    assert told(intake.taken) == {f"crops/1/0000{n}.jpg": f"cropped_aligned/1/0000{n}.jpg" for n in (1, 2)}
    assert "crops of 1 arrive; where detect_align.source prefers them" in intake.told[0]
    assert "no label file or list of 7" in told(intake.waiting)["crops/7/00001.jpg"]
    labels(case.inbox / "7.txt")
    assert {"crops/7/00001.jpg", "7.txt"} <= set(told(case.decide().taken))


def test_crops_of_both_kinds_go_where_the_release_has_theirs(case):
    picture(case.release / "a/cropped_aligned/2/00001.jpg", 1)
    picture(case.inbox / "x/cropped_aligned/1/00001.jpg", 2)
    picture(case.inbox / "x/cropped/1/00001.jpg", 3)
    assert set(told(case.decide().taken).values()) == {"a/cropped_aligned/1/00001.jpg", "cropped/1/00001.jpg"}


def test_other_crops_replace_those_there_where_changes_yaml_says_so(case):
    picture(case.release / "cropped_aligned/1/00001.jpg", 1)
    picture(case.inbox / "crops/1/00001.jpg", 99)
    assert "another picture stands at cropped_aligned/1/00001.jpg" in told(case.decide().bad)["crops/1/00001.jpg"]
    (case.inbox / "changes.yaml").write_text("replace: [crops/1]")
    assert told(case.decide().taken) == {"crops/1/00001.jpg": "cropped_aligned/1/00001.jpg"}


def test_lsd_by_class_folder(case):
    picture(case.release / f"{TRAIN}/ANGER/1.jpg", 1)
    picture(case.release / "lsd/validation_set_real_images/SADNESS/9.jpg", 77)
    same = picture(case.inbox / "batch/training_set_synthetic_images/ANGER/1.jpg", 1)
    picture(case.inbox / "batch/training_set_synthetic_images/ANGER/2.jpg", 20)
    picture(case.inbox / "batch/training_set_synthetic_images/HAPPINESS/3.jpg", 30)
    picture(case.inbox / "batch/training_set_synthetic_images/SADNESS/4.jpg", 77)
    picture(case.inbox / "batch/training_set_synthetic_images/BORED/5.jpg", 50)
    (same.parent / "6.jpg").write_bytes(same.read_bytes()[:90])
    intake = case.decide()
    home = "batch/training_set_synthetic_images"
    assert told(intake.taken) == {
        f"{home}/ANGER/2.jpg": f"{TRAIN}/ANGER/2.jpg",
        f"{home}/HAPPINESS/3.jpg": f"{TRAIN}/HAPPINESS/3.jpg",
    }
    assert intake.known == 1
    bad = told(intake.bad)
    assert "the same picture as lsd/validation_set_real_images/SADNESS/9.jpg" in bad[f"{home}/SADNESS/4.jpg"]
    assert "does not decode" in bad[f"{home}/ANGER/6.jpg"] and "no folder tells" in bad[f"{home}/BORED/5.jpg"]


def test_a_test_picture_of_lsd_trains_nobody(case):
    tested = picture(case.release / "lsd/lsd_test_set/1.jpg", 5)
    (case.inbox / "training_set_real_images/ANGER").mkdir(parents=True)
    (case.inbox / "training_set_real_images/ANGER/x.jpg").write_bytes(tested.read_bytes())
    assert "the same picture as lsd/lsd_test_set/1.jpg" in next(iter(case.decide().bad.values()))


def test_the_pool(case):
    picture(case.release / "pool/unlabelled/a.jpg", 1)
    picture(case.inbox / "unlabelled/november/b.jpg", 2)
    video(case.inbox / "unlabelled/november/street.avi", 3)
    picture(case.inbox / "unlabelled/a.jpg", 4)
    (case.inbox / "unlabelled/c.png").write_bytes(b"x" * 90)
    intake = case.decide()
    assert set(told(intake.taken).values()) == {
        "pool/unlabelled/november/b.jpg",
        "pool/unlabelled/november/street.avi",
    }
    assert set(told(intake.bad)) == {"unlabelled/a.jpg", "unlabelled/c.png"}


def test_mtl_rows_merge_into_the_list_of_their_split(case):
    rows(case.release / "mtl/training_set_annotations.txt", "5/00001.jpg", "6/00001.jpg")
    rows(case.release / "mtl/validation_set_annotations.txt", "8/00001.jpg")
    for name in ("5", "6", "8"):
        picture(case.release / f"mtl/cropped_aligned/{name}/00001.jpg", 1)
    rows(case.inbox / "training_set_annotations.txt", "6/00001.jpg", "7/00001.jpg", valence=0.1)
    assert "1 of its pictures are not here, 7/00001.jpg" in next(iter(case.decide().waiting.values()))
    picture(case.inbox / "crops/7/00001.jpg", 7)
    intake = case.decide()
    assert intake.told == ["MTL list (train): 1 rows replaced, 1 added"]
    assert told(intake.taken)["crops/7/00001.jpg"] == "mtl/cropped_aligned/7/00001.jpg"
    text = intake.rewritten["mtl/training_set_annotations.txt"].decode().splitlines()
    assert [row.split(",")[:2] for row in text[1:]] == [
        ["5/00001.jpg", "0.5"],
        ["6/00001.jpg", "0.1"],
        ["7/00001.jpg", "0.1"],
    ]
    rows(case.inbox / "training_set_annotations.txt", "8/00001.jpg")
    assert "recording 8 is in the other split's list" in next(iter(case.decide().bad.values()))
    rows(case.inbox / "training_set_annotations.txt", "6/00001.jpg")
    assert case.decide().known == 1


def test_the_first_mtl_list(case):
    rows(case.inbox / "training_set_annotations.txt", "7/00001.jpg")
    picture(case.inbox / "cropped_aligned/7/00001.jpg", 7)
    assert set(told(case.decide().taken).values()) == {
        "mtl/training_set_annotations.txt",
        "mtl/cropped_aligned/7/00001.jpg",
    }


def test_test_lists_do_not_come_in_this_way(case):
    path = case.inbox / "ABAW11/prediction_files_format/VA_test_set_sample.txt"
    path.parent.mkdir(parents=True)
    path.write_text("image_location,valence,arousal\n2/00001.jpg,\n")
    assert "a new edition is a release of its own" in next(iter(case.decide().bad.values()))


def test_compound_expressions_train_nobody(case):
    video(case.inbox / "ABAW11/C-EXPR-DB/8.avi", 9)
    assert "of the compound expressions" in next(iter(case.decide().bad.values()))


def test_a_packed_release_takes_pictures_in_folders_of_their_own(case):
    (case.release / "pack.json").write_text("{}")
    shard = case.release / "shards/unlabelled/00000.parquet"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"x")
    picture(case.inbox / "unlabelled/a.jpg", 1)
    picture(case.inbox / "unlabelled/november/a.jpg", 2)
    (case.inbox / "changes.yaml").write_text("remove: [1]")
    intake = case.decide()
    assert set(told(intake.taken)) == {"unlabelled/november/a.jpg"}
    assert "unlabelled is packed" in told(intake.bad)["unlabelled/a.jpg"]
    assert "an imported pack" in told(intake.bad)["changes.yaml"]


# --- archives ------------------------------------------------------------------------------------------------


def zipped(case: Case, name: str) -> None:
    """All that lies in the inbox, as a zip there."""
    paths = [path for path in sorted(case.inbox.rglob("*")) if path.is_file()]
    with zipfile.ZipFile(case.root / name, "w") as file:
        for path in paths:
            file.write(path, path.relative_to(case.inbox).as_posix())
            path.unlink()
    (case.root / name).rename(case.inbox / name)


def test_a_whole_release_in_an_archive(case):
    video(case.inbox / "videos/3.avi", 100)
    labels(case.inbox / "annotations/VA_Estimation_Challenge/Validation_Set/3.txt")
    picture(case.inbox / "lsd/training_set_real_images/FEAR/1.jpg", 1)
    picture(case.inbox / "unlabelled/u.jpg", 2)
    (case.inbox / "readme.pdf").write_bytes(b"%PDF")
    zipped(case, "ABAW11.zip")
    intake = case.decide()
    assert set(told(intake.taken).values()) == {
        "videos/3.avi",
        "annotations/VA_Estimation_Challenge/Validation_Set/3.txt",
        "lsd/training_set_real_images/FEAR/1.jpg",
        "unlabelled/u.jpg",
    }
    assert list(told(intake.bad)) == ["ABAW11/readme.pdf"] and list(intake.unpacked) == ["ABAW11.zip"]
    done = Past.of([Record(kind="run", date="", commit="", unpacked=intake.unpacked)])
    assert case.decide(done).known == 1 and not case.decide(done).changes


def test_an_archive_is_named_by_what_it_holds(case):
    picture(case.inbox / "1.jpg", 1)
    zipped(case, "unlabelled.zip")
    assert set(told(case.decide().taken).values()) == {"unlabelled/1.jpg"}


def test_an_archive_of_which_a_part_waits_is_not_done(case):
    video(case.inbox / "3.avi", 100)
    zipped(case, "later.zip")
    intake = case.decide()
    assert intake.unpacked == {} and set(told(intake.waiting)) == {"later/3.avi"}
    labels(case.inbox / "3.txt")
    assert list(case.decide().unpacked) == ["later.zip"]


def test_what_is_bad_in_all_its_parts_is_bad(case):
    (case.inbox / "x.docx").write_text("x")
    zipped(case, "notes.zip")
    assert set(told(case.decide().bad)) == {"notes/x.docx", "notes.zip"}


def climbs(case: Case) -> None:
    with zipfile.ZipFile(case.inbox / "x.zip", "w") as file:
        file.writestr("../1.jpg", b"x")


def half(case: Case) -> None:
    picture(case.inbox / "unlabelled/a.jpg", 1)
    zipped(case, "x.zip")
    data = (case.inbox / "x.zip").read_bytes()
    (case.inbox / "x.zip").write_bytes(data[: len(data) // 2])


def links(case: Case) -> None:
    with tarfile.open(case.inbox / "x.tar", "w") as file:
        info = tarfile.TarInfo("unlabelled/a.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(info, io.BytesIO())


def bare(case: Case) -> None:
    zipfile.ZipFile(case.inbox / "x.zip", "w").close()


@pytest.mark.parametrize(
    ("arrive", "reason"),
    [(climbs, "leads out of its folder"), (half, "damaged"), (links, "is a link"), (bare, "nothing is in it")],
)
def test_an_unsafe_or_broken_archive_is_bad_and_leaves_nothing(case, arrive, reason):
    arrive(case)
    intake = case.decide()
    assert reason in next(iter(intake.bad.values())) and not intake.taken
    assert not list(unpack.UNPACKED.glob("*"))


def test_an_archive_that_the_disk_has_no_room_for(case, monkeypatch):
    picture(case.inbox / "unlabelled/a.jpg", 1)
    zipped(case, "x.zip")
    monkeypatch.setattr(unpack, "SPARE", 1e12)
    assert "GB are free" in next(iter(case.decide().bad.values()))


def test_many_files_with_one_fate_are_one_line(case):
    for number in range(9):
        picture(case.inbox / f"cropped_aligned/7/{number + 1:05d}.jpg", number)
    (line,) = lines(case.decide().waiting)
    assert line.startswith("cropped_aligned/7: 9 files, 00001.jpg the first: no label file")
