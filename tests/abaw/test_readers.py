"""Readers: official files as they are, label i is frame i, and errors that name file, line and mend."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.abaw import readers, text
from pipeline.abaw.tracks import TRACKS
from pipeline.core.errors import MienError
from tests.abaw_fixture import AU_ROW, OFF, SAMPLES, lines, needs_samples, write


def read_annotation(path: Path, track: str) -> np.ndarray:
    """Values of a per-video file; its first problem as the user sees it."""
    values, problems = readers.scan_annotation(text.read_bytes(path), TRACKS[track])
    if problems:
        raise problems[0].error(path)
    return values


def read_mtl(path: Path) -> pa.Table:
    table, problems = readers.scan_mtl(text.read_bytes(path))
    if problems:
        raise problems[0].error(path)
    return table


EXPR = TRACKS["expr"].video_header
MTL = TRACKS["mtl"].header


@needs_samples
def test_samples_label_i_is_frame_i():
    folder, name = SAMPLES / "affwild2/annotations", "Train_Set/900-30-1280x720.txt"
    expr = read_annotation(folder / "EXPR_Recognition_Challenge" / name, "expr")
    assert expr.dtype == np.float64
    assert expr[:, 0].tolist() == [0, 0, 4, -1, 4]  # frame 4, which is 00004.jpg, is invalid
    va = read_annotation(folder / "VA_Estimation_Challenge" / name, "va")
    assert va[2].tolist() == [-5, -5]
    assert va[4, 0] == -0.00416666666667
    au = read_annotation(folder / "AU_Detection_Challenge" / name, "au")
    assert au.shape == (5, 12)
    assert (au[2] == -1).all()
    assert au[3].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]


@needs_samples
def test_samples_mtl_keeps_duplicates():
    table = read_mtl(SAMPLES / "mtl_s-aff-wild2/training_set_annotations.txt")
    assert table.schema == readers.MTL_SCHEMA
    images = table.column("image").to_pylist()
    assert images[1] == images[2] == "900/00003.jpg"
    assert table.column("expression").to_pylist() == [0, 0, 0, -1, 4, -1]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", ["", "{end}", "{end}{end}"])
def test_universal_newlines_and_bom(tmp_path, end, bom, last):
    content = end.join([EXPR, "3", "-1", "7"]) + last.format(end=end)
    assert read_annotation(write(tmp_path / "12.txt", bom + content.encode()), "expr")[:, 0].tolist() == [3, -1, 7]


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
        read_annotation(path, "expr")
    assert word in str(caught.value)


def test_wrong_header_of_another_track(tmp_path):
    path = write(tmp_path / "12.txt", lines("valence,arousal", "0.1,0.2"))
    with pytest.raises(MienError, match=r"line 1: the header of VA in a file of EXPR"):
        read_annotation(path, "expr")


def test_missing_header_does_not_lose_frame_one():
    values, problems = readers.scan_annotation(b"4\n5\n", TRACKS["expr"])
    assert [problem.line for problem in problems] == [1]
    assert values[:, 0].tolist() == [4, 5]


def test_scan_keeps_rows_in_place():
    values, problems = readers.scan_annotation(lines(EXPR, "1", "x", "3").encode(), TRACKS["expr"])
    assert [problem.line for problem in problems] == [3]
    assert values[0, 0] == 1
    assert np.isnan(values[1, 0])
    assert values[2, 0] == 3


def test_a_wholly_wrong_file_is_bounded_and_all_masked():
    values, problems = readers.scan_annotation(lines(EXPR, *["-7"] * 5000, "3").encode(), TRACKS["expr"])
    assert len(problems) == readers.MAX_PROBLEMS
    assert np.isnan(values[:-1]).all()
    assert values[-1, 0] == 3


@pytest.mark.parametrize("data", [b"\xff\xfe1\x002\x00", b"valence,arousal\n0.1,\xe9\n", b"\0" * 10])
def test_other_encodings_are_refused(tmp_path, data):
    with pytest.raises(MienError, match=r"line \d+: .*UTF-8"):
        read_annotation(write(tmp_path / "12.txt", data), "va")


def test_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(MienError, match="No such file"):
        read_annotation(tmp_path / "none.txt", "expr")


def test_mtl_field_counts(tmp_path):
    good = f"12/00001.jpg,0.1,0.2,3,{AU_ROW}"
    path = write(tmp_path / "list.txt", lines(MTL, good, f"12/00002.jpg,0.1,0.2,3,{AU_ROW},0"))
    with pytest.raises(MienError, match=r"list\.txt, line 3: 16 values, expected 15"):
        read_mtl(path)
    table, problems = readers.scan_mtl(lines(MTL, good, f"12/00002.jpg,9,0,9,{OFF}").encode())
    assert len(problems) == 2
    assert table.column("expression").to_pylist() == [3, -1]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_template_keeps_header_bytes(tmp_path, end):
    rows = [TRACKS["expr"].header.encode(), b"12/00001.jpg,", b"12/00002.jpg,", b""]
    template = readers.read_template(write(tmp_path / "t.txt", b"\xef\xbb\xbf" + end.join(rows)))
    assert template.header == b"\xef\xbb\xbf" + TRACKS["expr"].header.encode() + end
    assert template.newline == end
    assert template.trailing_comma
    assert template.images.to_pylist() == ["12/00001.jpg", "12/00002.jpg"]
    assert template.videos().to_pylist() == ["12", "12"]
    assert template.frames().tolist() == [1, 2]


def test_template_of_no_track(tmp_path):
    with pytest.raises(MienError, match=r"line 1: .*no known track"):
        readers.read_template(write(tmp_path / "t.txt", "a,b\n"))


def test_template_with_an_empty_row(tmp_path):
    with pytest.raises(MienError, match="line 3: no image name"):
        readers.read_template(write(tmp_path / "t.txt", lines("image,expression", "0.jpg", "", "1.jpg")))


def test_an_mtl_list_whose_last_line_is_an_image_alone_keeps_its_rows():
    row = "122/00001.jpg,0.5,-0.25,3," + ",".join(["0"] * 12)
    for last in ("122/00002.jpg", "122/00002.jpg,"):
        table, problems = readers.scan_mtl(f"image,valence,arousal,expression,aus\n{row}\n{last}\n".encode())
        assert len(table) == 2 and [problem.line for problem in problems] == [3]
