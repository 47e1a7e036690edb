"""Writers give the template's rows, order and header bytes."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.abaw.check.check import check_bytes
from pipeline.abaw.readers import parse_template, read_template
from pipeline.abaw.tracks import TRACKS
from pipeline.abaw.writer import submission_bytes
from pipeline.core.errors import MienError
from pipeline.release.discover import find_release
from tests.abaw_fixture import SAMPLES, lines, needs_samples

AXIS = ["7/00001.jpg", "7/00002.jpg", "7-30-640x360/00001.jpg"]


def template(track, end="\n", images=AXIS):
    text = end.join([TRACKS[track].header, *[f"{image}," for image in images], ""])
    return parse_template(text.encode(), "template")


def test_one_row_of_each_track():
    au = np.zeros((3, 12), int)
    au[1, :] = 1
    va = np.array([[0.12345, -2.0], [1.5, -0.00001], [0, 0.5]])
    assert submission_bytes(template("expr"), np.array([0, 7, 3])).decode() == lines(
        TRACKS["expr"].header, "7/00001.jpg,0", "7/00002.jpg,7", "7-30-640x360/00001.jpg,3"
    )
    assert submission_bytes(template("va"), va).decode().split("\n")[1:3] == [
        "7/00001.jpg,0.1234,-1.0000",  # half to even, clipped
        "7/00002.jpg,1.0000,0.0000",  # clipped, and no minus zero
    ]
    assert submission_bytes(template("au"), au).decode().split("\n")[2] == "7/00002.jpg," + ",".join("1" * 12)
    mtl = submission_bytes(template("mtl"), {"va": va, "expression": np.array([0, 7, 3]), "aus": au}).decode()
    assert mtl.split("\n")[2] == "7/00002.jpg,1.0000,0.0000,7," + ",".join("1" * 12)


def test_header_bytes_and_line_ends_are_the_templates():
    for end in ("\n", "\r\n"):
        data = submission_bytes(template("lsd", end, ["0.jpg", "1.jpg"]), np.array([1, 2]))
        assert data == end.join(["image,expression", "0.jpg,1", "1.jpg,2", ""]).encode()


def test_duplicate_rows_are_written_as_often_as_the_template_has_them():
    axis = template("mtl", images=["7/00001.jpg", "7/00009.jpg", "7/00009.jpg"])
    predictions = {"va": np.zeros((3, 2)), "expression": np.array([1, 2, 3]), "aus": np.zeros((3, 12), int)}
    assert [row.split(",")[3] for row in submission_bytes(axis, predictions).decode().split("\n")[1:4]] == [
        "1",
        "2",
        "3",
    ]


@pytest.mark.parametrize(
    ("track", "predictions", "word"),
    [
        ("expr", np.array([0, 1]), "shape"),
        ("expr", np.array([0, 1, 8]), "prediction 3 is 8"),
        ("expr", np.array([0, -1, 2]), "prediction 2 is -1"),
        ("expr", np.array([0.5, 1, 2]), "prediction 1 is 0.5"),
        ("expr", np.array([0, np.nan, 2]), "prediction 2 is nan"),
        ("lsd", np.array([0, 6, 2]), "prediction 2 is 6"),
        ("ce", np.array([7, 6, 2]), "prediction 1 is 7"),
        ("au", np.full((3, 12), 2), "is 2"),
        ("va", np.array([[0, 0], [np.nan, 0], [0, 0]]), "prediction 2 is NaN"),
        ("va", np.array([[0, 0], [0, np.inf], [0, 0]]), "NaN or infinite"),
        ("mtl", {"va": np.zeros((3, 2))}, "lack aus, expression"),
    ],
)
def test_nothing_invalid_is_written(track, predictions, word):
    with pytest.raises(MienError, match=word):
        submission_bytes(template(track), predictions)


@needs_samples
@pytest.mark.parametrize(
    ("track", "folder"),
    [
        ("expr", "EXPR_abaw5plus"),
        ("au", "AU_abaw5plus"),
        ("va", "VA_abaw5plus"),
        ("mtl", "MTL_abaw3_4_7_11"),
        ("lsd", "LSD_abaw4"),
        ("ce", "CE_abaw6_9"),
    ],
)
def test_samples_byte_for_byte(track, folder):
    expected = (SAMPLES / "submissions_valid" / folder / "predictions.txt").read_bytes()
    rows = [line.split(",")[1:] for line in expected.decode().split("\n")[1:-1]]
    values = np.array(rows, float)
    predictions: Any = values[:, 0] if values.shape[1] == 1 else values
    if track == "mtl":
        predictions = {"va": values[:, :2], "expression": values[:, 2], "aus": values[:, 3:]}
    template = find_release(SAMPLES).template(track)
    assert template is not None
    assert submission_bytes(read_template(SAMPLES / template), predictions) == expected


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_written_is_conformant(data):
    track = data.draw(st.sampled_from(["expr", "va", "au", "lsd", "ce"]))
    rows = data.draw(st.integers(0, 6))
    images = [f"{i}.jpg" if track == "lsd" else f"12/{i + 1:05d}.jpg" for i in range(rows)]
    axis = template(track, data.draw(st.sampled_from(["\n", "\r\n"])), images)
    shape = (rows,) if axis.track.columns == 1 else (rows, axis.track.columns)
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    top = 2 if track == "au" else len(axis.track.classes)
    values = generator.normal(0, 1, shape) if track == "va" else generator.integers(0, top, shape)
    assert check_bytes(submission_bytes(axis, values, data.draw(st.integers(1, 8))), axis) == []


def test_a_sliced_or_chunked_axis_is_written_whole():
    axis = template("expr")
    sliced = type(axis)(axis.track, axis.header, pa.array(["x/00009.jpg", *AXIS]).slice(1), True)
    assert submission_bytes(sliced, np.array([0, 7, 3])) == submission_bytes(axis, np.array([0, 7, 3]))
