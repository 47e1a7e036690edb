"""`mien data validate` finds what was planted and ranks it by harm."""

import numpy as np
import pytest

from pipeline.abaw.tracks import TRACKS
from pipeline.validate.findings import EFFECTS
from pipeline.validate.validate import validate_release
from tests.abaw_fixture import (
    AU_ROW,
    EXPR_TRAIN,
    SAMPLES,
    lines,
    make_affwild2,
    make_lsd,
    make_mtl,
    make_release,
    needs_samples,
    write,
)


def found(root, **options):
    return {
        (f.effect, f.path.rpartition("/")[2], f.line, f.message.split(",")[0])
        for f in validate_release(root, **options).findings
    }


def test_the_fixture_has_only_what_was_planted(tmp_path):
    report = validate_release(make_release(tmp_path))
    assert report.good
    assert {f.effect for f in report.findings} == {"faces", "leak", "note"}
    rows = {(row.track, row.split): row for row in report.table}
    assert rows["expr", "train"].rows == 9
    assert rows["expr", "train"].classes == [0, 0, 0, 0, 9, 0, 0, 0]
    assert rows["expr", "train"].without_crop == 1
    assert rows["mtl", "train"].valid == 2
    assert rows["lsd", "train"].classes == [1] * 6
    assert report.decoded[0] == report.decoded[1] == len(list(tmp_path.rglob("*.jpg")))


def test_halves_on_different_sides_and_missing_crops(tmp_path):
    leaks = {f for f in found(make_affwild2(tmp_path)) if f[0] == "leak"}
    assert {name for _, name, _, _ in leaks} == {"45-24-1280x720_left.txt"}
    assert len(leaks) == 1  # the same words for three tracks
    assert ("faces", "12.txt", 3, "1 of 4 rows have no crop") in found(tmp_path)


def test_findings_are_sorted_by_harm(tmp_path):
    make_affwild2(tmp_path)
    write(tmp_path / EXPR_TRAIN / "12.txt", lines(TRACKS["expr"].video_header, "9", "1", "1", "1"))
    effects = [list(EFFECTS).index(f.effect) for f in validate_release(tmp_path).findings]
    assert effects == sorted(effects)
    assert effects[0] == 0


@pytest.mark.parametrize(
    ("content", "line", "word"),
    [
        (lines("Neutral,Anger", "1", "1", "1", "1"), 1, "header"),
        (lines(TRACKS["expr"].video_header, "1", "", "1", "1"), 3, "empty line"),
        (lines(TRACKS["expr"].video_header, "1", "1", "1", "11"), 5, "value 1 is '11'"),
        (lines(TRACKS["expr"].video_header, "1", "1"), 3, "2 rows"),
        (b"\xff\xfe\x00", 1, "NUL byte"),
    ],
)
def test_broken_annotations(tmp_path, content, line, word):
    make_affwild2(tmp_path)
    write(tmp_path / EXPR_TRAIN / "12.txt", content)
    report = validate_release(tmp_path)
    assert not report.good
    assert [f for f in report.findings if f.effect == "labels" and f.line == line and f.message.startswith(word)]


def test_frame_counts_that_disagree(tmp_path):
    make_affwild2(tmp_path)
    write(tmp_path / EXPR_TRAIN / "12.txt", lines(TRACKS["expr"].video_header, *["1"] * 3))
    assert {("labels", "12.txt", 4, "3 rows"), ("labels", "12.txt", 4, "1 crops lie behind the last row")} <= found(
        tmp_path
    )


def test_names_and_strays(tmp_path):
    make_affwild2(tmp_path)
    write(tmp_path / EXPR_TRAIN / "holiday.txt", lines(TRACKS["expr"].video_header, "1"))
    write(tmp_path / "cropped_aligned" / "beach" / "00001.jpg", b"")
    write(tmp_path / "cropped_aligned" / "12" / "1.jpg", b"")
    messages = {message for _, _, _, message in found(tmp_path)}
    assert {"'holiday' is no official video name", "'beach' is no official video name"} <= messages
    assert "1 crops are not called like 00001.jpg" in messages


def test_the_same_video_twice(tmp_path):
    make_affwild2(tmp_path)
    write(
        tmp_path / EXPR_TRAIN.replace("Train", "Validation") / "12.txt", lines(TRACKS["expr"].video_header, *["1"] * 4)
    )
    write(
        tmp_path / "old" / "EXPR_Classification_Challenge" / "Train_Set" / "12-30-640x360.txt",
        lines(TRACKS["expr"].video_header, *["1"] * 3),
    )
    messages = {(effect, message.split(" in ")[0]) for effect, _, _, message in found(tmp_path)}
    assert ("leak", "12 is annotated for EXPR") in messages
    assert ("labels", "12-30-640x360 is annotated for EXPR") in messages


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "file is empty"),
        (b"no image", "not a decodable picture"),
        (b"\xff\xd8\xff\xe0 cut", "does not decode"),
    ],
)
def test_images_that_do_not_decode(tmp_path, content, word):
    make_affwild2(tmp_path)
    path = write(tmp_path / "cropped_aligned" / "12" / "00001.jpg", content)
    (finding,) = [f for f in validate_release(tmp_path).findings if f.effect == "rows"]
    assert finding.path == path.relative_to(tmp_path).as_posix()
    assert word in finding.message


def test_a_truncated_crop_is_found(tmp_path):
    make_affwild2(tmp_path)
    path = tmp_path / "cropped_aligned" / "12" / "00001.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    assert [f for f in validate_release(tmp_path).findings if f.effect == "rows" and "does not decode" in f.message]


def test_decoding_can_be_sampled_and_says_so(tmp_path):
    report = validate_release(make_affwild2(tmp_path), decode_limit=5)
    tried, total = report.decoded
    assert 0 < tried <= 5 < total


def test_raw_videos_against_rows(tmp_path):
    cv2 = pytest.importorskip("cv2")
    make_affwild2(tmp_path)
    for name, frames in (("12", 4), ("12-30-640x360", 4), ("video3_1", 20)):
        (tmp_path / "videos").mkdir(exist_ok=True)
        writer = cv2.VideoWriter(
            str(tmp_path / "videos" / f"{name}.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 48)
        )
        for i in range(frames):
            writer.write(np.full((48, 64, 3), i * 10, np.uint8))
        writer.release()
    write(tmp_path / "videos" / "99.mp4", b"no video")
    findings = found(tmp_path)
    assert ("rows", "99.mp4", None, "does not decode: no decodable video stream") in findings
    assert ("note", "12-30-640x360.txt", 4, "3 rows") in findings
    assert ("labels", "video3_1.txt", 6, "5 rows") in findings
    assert not [f for f in findings if f[1] == "12.txt" and "frames" in f[3]]


def test_templates(tmp_path):
    make_affwild2(tmp_path)
    place = tmp_path / "test" / "prediction_files_format"
    write(
        place / "CVPR_6th_ABAW_EXPR_test_set_sample.txt",
        lines(TRACKS["expr"].header, "7/00001.jpg,", "7/00003.jpg,", "7/00003.jpg,", "12/00001.jpg,"),
    )
    write(place / "CVPR_6th_ABAW_VA_test_set_sample.txt", lines("image_location,Valence,Arousal", "7/00001.jpg,"))
    findings = found(tmp_path)
    assert ("submission", "CVPR_6th_ABAW_EXPR_test_set_sample.txt", 3, "1 rows break the sequence 1..N") in findings
    assert ("submission", "CVPR_6th_ABAW_EXPR_test_set_sample.txt", 4, "1 duplicate rows") in findings
    assert any(
        effect == "leak" and message.startswith("test video 12 is annotated") for effect, _, _, message in findings
    )
    assert any(effect == "rows" and name == "CVPR_6th_ABAW_VA_test_set_sample.txt" for effect, name, _, _ in findings)
    assert any("7-30-640x360" in message for effect, _, _, message in findings if effect == "submission")


def test_mtl_lists(tmp_path):
    make_mtl(tmp_path)
    rows = [
        f"12/00001.jpg,0.5,0.25,4,{AU_ROW}",
        f"12/00001.jpg,0.5,0.25,5,{AU_ROW}",
        f"12/00050.jpg,0.5,0.25,4,{AU_ROW}",
    ]
    write(
        tmp_path / "training_set_annotations.txt",
        lines(TRACKS["mtl"].header, *rows, f"video3_1/00002.jpg,0,0,1,{AU_ROW}"),
    )
    findings = found(tmp_path)
    assert ("labels", "training_set_annotations.txt", 3, "1 images come again with other labels") in findings
    assert ("faces", "training_set_annotations.txt", 4, "1 rows have no image") in findings
    assert ("leak", "validation_set_annotations.txt", None, "raw video video3_1 is in both lists") in findings


def test_lsd_folders(tmp_path):
    make_lsd(tmp_path)
    (tmp_path / "training_set_synthetic_images" / "FEAR" / "2.jpg").unlink()
    (tmp_path / "lsd_test_data" / "1.jpg").unlink()
    write(tmp_path / "training_set_synthetic_images" / "CONTEMPT" / "1.jpg", b"")
    messages = {message for _, _, _, message in found(tmp_path)}
    assert {"no images of class 2 (Fear)", "1 rows have no image", "left out: no class of the LSD track"} <= messages


def test_both_spellings_of_anger(tmp_path):
    make_lsd(tmp_path)
    (tmp_path / "training_set_synthetic_images" / "ANGRER").rename(tmp_path / "training_set_synthetic_images" / "Anger")
    assert validate_release(tmp_path).good


@needs_samples
@pytest.mark.parametrize(
    ("part", "planted"),
    [
        (
            "affwild2",
            [
                ("faces", "900-30-1280x720.txt", 4),
                ("faces", "902-24-1920x1080_right.txt", 2),
                ("faces", "ABAW_Expr_test_set_sample.txt", 4),
            ],
        ),
        (
            "mtl_s-aff-wild2",
            [
                ("note", "training_set_annotations.txt", 4),
                ("note", "training_set_annotations.txt", 7),
                ("note", "MTL_Challenge_test_set_release.txt", 4),
            ],
        ),
        ("lsd_abaw4", []),
        ("ce_c-expr-db", []),
    ],
)
def test_samples_give_the_planted_findings(part, planted):
    report = validate_release(SAMPLES / part)
    assert report.good
    assert report.table
    got = {(f.effect, f.path.rpartition("/")[2], f.line) for f in report.findings}
    assert set(planted) <= got
    assert bool(planted) == bool(got)
