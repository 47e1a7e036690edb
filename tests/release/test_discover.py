"""Discovery by the names of challenge folders, whatever the rest is called."""

import os
from pathlib import Path

import pytest

from pipeline.core.errors import MienError
from pipeline.release.discover import find_release
from tests.abaw_fixture import SAMPLES, lines, make_affwild2, make_mtl, make_release, needs_samples, write


def test_everything_below_one_root(tmp_path):
    release = find_release(make_release(tmp_path))
    assert sorted({(a.track, a.split) for a in release.annotations}) == [
        (track, split) for track in ("au", "expr", "va") for split in ("train", "validation")
    ]
    assert len(release.annotations) == 15
    assert set(release.templates) == {"expr", "au", "va", "mtl", "lsd", "ce"}
    assert release.mtl_lists["train"] == Path("mtl/training_set_annotations.txt")
    assert release.mtl_images == {
        "train": [Path("mtl/cropped_aligned")],
        "test": [Path("mtl/mtl_test_data/cropped_aligned")],
    }
    assert set(release.lsd_classes["train"]) == set(range(6))
    assert release.lsd_test == Path("lsd_abaw4/lsd_test_data")
    assert release.unlabelled == [Path("unlabelled/some face.jpg")]
    assert release.test_videos["expr"].name.startswith("Expression_Recognition")


def test_crops_are_merged_and_matched_exactly(tmp_path):
    release = find_release(make_affwild2(tmp_path))
    assert release.crops["12"] == [Path("cropped_aligned/12")]
    assert release.crops["7"] == [Path("cropped_aligned_new_50_vids/7")]
    assert "readme.txt" not in release.crops
    assert [name for name, _ in release.images("12")] == ["00001.jpg", "00003.jpg", "00004.jpg"]
    assert [name for name, _ in release.images("12-30-640x360")] == ["00001.jpg", "00002.jpg", "00003.jpg"]


def test_unaligned_crops_stand_beside_aligned_ones(tmp_path):
    make_affwild2(tmp_path)
    for video in ("12", "99"):
        write(tmp_path / "cropped" / video / "00001.jpg", b"x")
    release = find_release(tmp_path)
    assert release.crops["12"] == [Path("cropped_aligned/12")] and "99" not in release.crops
    assert release.unaligned_crops == {video: [Path("cropped", video)] for video in ("12", "99")}
    assert release.crop_folders("12") == [Path("cropped_aligned/12")]
    assert release.crop_folders("99") == [Path("cropped/99")] and release.crop_folders("nowhere") == []


def test_an_archive_unpacked_into_its_own_name(tmp_path):
    make_affwild2(tmp_path / "release")
    inner = tmp_path / "release" / "cropped_aligned"
    (tmp_path / "release" / "moved").mkdir()
    inner.rename(tmp_path / "release" / "moved" / "cropped_aligned")
    (tmp_path / "release" / "moved").rename(inner)
    assert find_release(tmp_path / "release").crops["12"] == [Path("cropped_aligned/cropped_aligned/12")]


@pytest.mark.parametrize(
    "challenge", ["EXPR_Classification_Challenge", "EXPR_Recognition_Challenge", "expr_recognition_challenge"]
)
@pytest.mark.parametrize("train", ["Train_Set", "Training_Set"])
def test_editions_spell_folders_differently(tmp_path, challenge, train):
    write(tmp_path / "any name" / challenge / train / "12.txt", "x")
    (annotation,) = find_release(tmp_path).annotations
    assert (annotation.track, annotation.split, annotation.video) == ("expr", "train", "12")


def test_templates_to_fill_come_before_examples(tmp_path):
    header, name = "image,expression", "LSD_Challenge_test_set_release.txt"
    write(tmp_path / "test_set_examples" / name, lines(header, "0.jpg,1"))
    write(tmp_path / "zz" / "prediction_files_format" / name, lines(header, "0.jpg,"))
    release = find_release(tmp_path)
    assert release.template("lsd") == Path("zz/prediction_files_format") / name
    assert len(release.templates["lsd"]) == 2
    assert release.template("va") is None


def test_raw_videos_and_what_is_left_out(tmp_path):
    for path in ("batch1/12.mp4", "batch2/video3_1.avi", "batch2/12.avi", "batch2/holiday.mp4", "C-EXPR-DB/12.mp4"):
        write(tmp_path / "videos" / path, b"x")
    release = find_release(tmp_path)
    assert release.videos == {"12": Path("videos/batch1/12.mp4"), "video3_1": Path("videos/batch2/video3_1.avi")}
    assert release.compounds == {"12": Path("videos/C-EXPR-DB/12.mp4")}
    assert {path.name for path, _ in release.skipped} == {"12.avi", "holiday.mp4"}


def test_mtl_lists_among_the_other_challenges_use_the_crops_of_affwild2(tmp_path):
    make_affwild2(tmp_path)
    make_mtl(tmp_path / "elsewhere")
    challenge = tmp_path / "6th_ABAW_Annotations" / "MTL_Challenge"
    challenge.mkdir()
    (tmp_path / "elsewhere" / "training_set_annotations.txt").rename(challenge / "train_set.txt")
    for path in sorted((tmp_path / "elsewhere").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    release = find_release(tmp_path)
    assert release.mtl_lists == {"train": challenge.relative_to(tmp_path) / "train_set.txt"}
    assert release.mtl_images["train"][0] == Path("cropped_aligned")


def test_nothing_of_abaw(tmp_path):
    write(tmp_path / "notes.txt", "hello")
    with pytest.raises(MienError, match="nothing of an official release"):
        find_release(tmp_path)
    with pytest.raises(MienError, match="no such folder"):
        find_release(tmp_path / "none")


def test_a_link_in_a_circle_ends(tmp_path):
    make_affwild2(tmp_path / "release")
    (tmp_path / "release" / "test" / "loop").symlink_to(tmp_path / "release")
    assert len(find_release(tmp_path / "release").annotations) == 15


@pytest.mark.parametrize("name", [b"1\xff.txt", b"1\x1b[2J.txt"])
def test_names_that_cannot_be_shown(tmp_path, name):
    make_affwild2(tmp_path)
    (tmp_path / "test" / os.fsdecode(name)).write_bytes(b"")
    with pytest.raises(MienError, match="rename it"):
        find_release(tmp_path)


@needs_samples
def test_samples():
    release = find_release(SAMPLES)
    assert len(release.annotations) == 11
    template = release.template("expr")
    assert template is not None and template.name == "ABAW_Expr_test_set_sample.txt"
    assert release.crops["video91_2_right"] == [Path("affwild2/cropped_aligned_new_50_vids/video91_2_right")]
    assert release.skipped == []
