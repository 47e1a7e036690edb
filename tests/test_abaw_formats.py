"""Readers: official files as they are, label i is frame i, and errors that name file, line and mend."""

import numpy as np
import pytest
from abaw_fixture import AU_ROW, OFF, SAMPLES, lines, needs_samples, write

from pipeline.abaw import formats
from pipeline.abaw.names import base_video, frame_number, is_video_name, side
from pipeline.abaw.tracks import AUS, EXPRESSIONS, TRACKS
from pipeline.errors import MienError

EXPR = TRACKS["expr"].video_header
MTL = TRACKS["mtl"].header


@needs_samples
def test_samples_label_i_is_frame_i():
    expr = formats.read_expr(SAMPLES / "affwild2/annotations/EXPR_Recognition_Challenge/Train_Set/900-30-1280x720.txt")
    assert expr.dtype == np.int8
    assert expr.tolist() == [0, 0, 4, -1, 4]  # frame 4, which is 00004.jpg, is invalid
    va = formats.read_va(SAMPLES / "affwild2/annotations/VA_Estimation_Challenge/Train_Set/900-30-1280x720.txt")
    assert va[2].tolist() == [-5, -5]
    assert va[4, 0] == np.float32(-0.00416666666667)
    au = formats.read_au(SAMPLES / "affwild2/annotations/AU_Detection_Challenge/Train_Set/900-30-1280x720.txt")
    assert au.shape == (5, 12)
    assert (au[2] == -1).all()
    assert au[3].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]


@needs_samples
def test_samples_mtl_keeps_duplicates():
    table = formats.read_mtl(SAMPLES / "mtl_s-aff-wild2/training_set_annotations.txt")
    assert table.schema == formats.MTL_SCHEMA
    images = table.column("image").to_pylist()
    assert images[1] == images[2] == "900/00003.jpg"
    assert table.column("expression").to_pylist() == [0, 0, 0, -1, 4, -1]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", ["", "{end}", "{end}{end}"])
def test_universal_newlines_and_bom(tmp_path, end, bom, last):
    text = end.join([EXPR, "3", "-1", "7"]) + last.format(end=end)
    assert formats.read_expr(write(tmp_path / "12.txt", bom + text.encode())).tolist() == [3, -1, 7]


@pytest.mark.parametrize(
    ("rows", "line", "word"),
    [
        (["1", "8"], 3, "0-7"),
        (["1", "-2"], 3, "0-7"),
        (["1", "", "2"], 3, "empty line"),
        (["1", "2.5"], 3, "0-7"),
        (["1", "two"], 3, "'two'"),
        (["1", "1,2"], 3, "2 values"),
        (["1", "nan"], 3, "'nan'"),
        (["1", "1_0"], 3, "'1_0'"),
    ],
)
def test_broken_rows_name_their_line(tmp_path, rows, line, word):
    path = write(tmp_path / "12.txt", lines(EXPR, *rows))
    with pytest.raises(MienError, match=rf"12\.txt, line {line}: .*Mend: ") as caught:
        formats.read_expr(path)
    assert word in str(caught.value)


def test_wrong_header_of_another_track(tmp_path):
    path = write(tmp_path / "12.txt", lines("valence,arousal", "0.1,0.2"))
    with pytest.raises(MienError, match=r"line 1: the header of VA in a file of EXPR"):
        formats.read_expr(path)


def test_missing_header_does_not_lose_frame_one():
    values, problems = formats.scan_annotation(b"4\n5\n", TRACKS["expr"])
    assert [problem.line for problem in problems] == [1]
    assert values[:, 0].tolist() == [4, 5]


def test_scan_keeps_rows_in_place():
    values, problems = formats.scan_annotation(lines(EXPR, "1", "x", "3").encode(), TRACKS["expr"])
    assert [problem.line for problem in problems] == [3]
    assert values[0, 0] == 1
    assert np.isnan(values[1, 0])
    assert values[2, 0] == 3


def test_a_wholly_wrong_file_is_bounded_and_all_masked():
    values, problems = formats.scan_annotation(lines(EXPR, *["-7"] * 5000, "3").encode(), TRACKS["expr"])
    assert len(problems) == formats.MAX_PROBLEMS
    assert np.isnan(values[:-1]).all()
    assert values[-1, 0] == 3


@pytest.mark.parametrize("data", [b"\xff\xfe1\x002\x00", b"valence,arousal\n0.1,\xe9\n", b"\0" * 10])
def test_other_encodings_are_refused(tmp_path, data):
    with pytest.raises(MienError, match=r"line \d+: .*UTF-8"):
        formats.read_va(write(tmp_path / "12.txt", data))


def test_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(MienError, match="No such file"):
        formats.read_expr(tmp_path / "none.txt")


def test_mtl_field_counts(tmp_path):
    good = f"12/00001.jpg,0.1,0.2,3,{AU_ROW}"
    path = write(tmp_path / "list.txt", lines(MTL, good, f"12/00002.jpg,0.1,0.2,3,{AU_ROW},0"))
    with pytest.raises(MienError, match=r"list\.txt, line 3: 16 values, expected 15"):
        formats.read_mtl(path)
    table, problems = formats.scan_mtl(lines(MTL, good, f"12/00002.jpg,9,0,9,{OFF}").encode())
    assert len(problems) == 2
    assert table.column("expression").to_pylist() == [3, -1]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_template_keeps_header_bytes(tmp_path, end):
    rows = [TRACKS["expr"].header.encode(), b"12/00001.jpg,", b"12/00002.jpg,", b""]
    template = formats.read_template(write(tmp_path / "t.txt", b"\xef\xbb\xbf" + end.join(rows)))
    assert template.header == b"\xef\xbb\xbf" + TRACKS["expr"].header.encode() + end
    assert template.newline == end
    assert template.trailing_comma
    assert template.images.to_pylist() == ["12/00001.jpg", "12/00002.jpg"]
    assert template.videos().to_pylist() == ["12", "12"]
    assert template.frames().tolist() == [1, 2]


def test_template_of_no_track(tmp_path):
    with pytest.raises(MienError, match=r"line 1: .*no known track"):
        formats.read_template(write(tmp_path / "t.txt", "a,b\n"))


def test_template_with_an_empty_row(tmp_path):
    with pytest.raises(MienError, match="line 3: no image name"):
        formats.read_template(write(tmp_path / "t.txt", lines("image,expression", "0.jpg", "", "1.jpg")))


def test_class_orders():
    assert EXPRESSIONS[4] == "Happiness"
    assert TRACKS["expr"].header.endswith("Surprise,Other")
    assert (len(EXPRESSIONS), len(AUS)) == (8, 12)
    assert len(TRACKS["mtl"].header.split(",")) == 5
    assert TRACKS["mtl"].columns == 15


@pytest.mark.parametrize("name", ["122", "122-60-1920x1080-3", "130-25-1280x720_left", "video45_1", "video10_1_right"])
def test_names_of_the_grammar(name):
    assert is_video_name(name)


@pytest.mark.parametrize("name", ["", "122-60", "video", "122_middle", "122\n", "122-60-1920x1080-", "١٢", "a122"])
def test_names_outside_the_grammar(name):
    assert not is_video_name(name)


def test_sides_and_frames():
    assert (base_video("45-24-1280x720_left"), side("45-24-1280x720_left")) == ("45-24-1280x720", "left")
    assert (base_video("122"), side("122")) == ("122", None)
    assert [frame_number(n) for n in ("00001.jpg", "123456.jpg", "00000.jpg", "1.jpg", "00001.png")] == [
        1,
        123456,
        None,
        None,
        None,
    ]
