"""Writers give the template's rows, order and header bytes; fill and smoothing stay within a video."""

import numpy as np
import pyarrow as pa
import pytest
from abaw_fixture import SAMPLES, lines, needs_samples
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.abaw.check import check_bytes
from pipeline.abaw.fill import fill_classes, fill_scores
from pipeline.abaw.formats import parse_template, read_template
from pipeline.abaw.release import find_release
from pipeline.abaw.smooth import smooth
from pipeline.abaw.tracks import TRACKS
from pipeline.abaw.write import per_video_files, submission_bytes, video_arrays
from pipeline.errors import MienError

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
    mtl = submission_bytes(template("mtl"), {"va": va, "expr": np.array([0, 7, 3]), "au": au}).decode()
    assert mtl.split("\n")[2] == "7/00002.jpg,1.0000,0.0000,7," + ",".join("1" * 12)


def test_header_bytes_and_line_ends_are_the_templates():
    for end in ("\n", "\r\n"):
        data = submission_bytes(template("lsd", end, ["0.jpg", "1.jpg"]), np.array([1, 2]))
        assert data == end.join(["image,expression", "0.jpg,1", "1.jpg,2", ""]).encode()


def test_duplicate_rows_are_written_as_often_as_the_template_has_them():
    axis = template("mtl", images=["7/00001.jpg", "7/00009.jpg", "7/00009.jpg"])
    predictions = {"va": np.zeros((3, 2)), "expr": np.array([1, 2, 3]), "au": np.zeros((3, 12), int)}
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
        ("mtl", {"va": np.zeros((3, 2))}, "lack au, expr"),
    ],
)
def test_nothing_invalid_is_written(track, predictions, word):
    with pytest.raises(MienError, match=word):
        submission_bytes(template(track), predictions)


def test_per_video_files_of_edition_three():
    axis = template("va")
    arrays = video_arrays(axis, np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]))
    files = per_video_files(TRACKS["va"], arrays)
    assert files == {
        "7.txt": b"valence,arousal\n0.1000,0.2000\n0.3000,0.4000\n",
        "7-30-640x360.txt": b"valence,arousal\n0.5000,0.6000\n",
    }
    with pytest.raises(MienError, match="never submitted"):
        per_video_files(TRACKS["lsd"], {})
    with pytest.raises(MienError, match=r"frames 1\.\.N"):
        video_arrays(template("va", images=["7/00002.jpg"]), np.zeros((1, 2)))


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
    predictions = values[:, 0] if values.shape[1] == 1 else values
    if track == "mtl":
        predictions = {"va": values[:, :2], "expr": values[:, 2], "au": values[:, 3:]}
    release = find_release(SAMPLES)
    assert submission_bytes(read_template(SAMPLES / release.template(track)), predictions) == expected


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


def test_scores_are_interpolated_by_frame_distance_and_the_ends_repeated():
    videos = np.array(["a"] * 5 + ["b"] * 2 + ["c"])
    frames = np.array([1, 2, 4, 10, 11, 1, 2, 1])
    values = np.array([9, 0.0, 9, 8.0, 9, 5.0, 9, 9])
    present = np.array([0, 1, 0, 1, 0, 1, 0, 0], bool)
    filled = fill_scores(videos, frames, values, present, default=0.5)
    assert filled.values.tolist() == [0, 0, 2, 8, 8, 5, 5, 0.5]
    assert filled.mask.tolist() == (~present).tolist()
    wide = fill_scores(videos, frames, np.stack([values, -values], 1), present, default=np.array([0.1, 0.2]))
    assert wide.values[2].tolist() == [2, -2]
    assert wide.values[-1].tolist() == [0.1, 0.2]


def test_classes_come_from_the_nearest_frame_of_the_same_video():
    videos = np.array(["a", "a", "a", "a", "b", "b"])
    frames = np.array([1, 3, 5, 9, 1, 2])
    filled = fill_classes(videos, frames, np.array([2, -1, 6, -1, -1, -1]), [1, 0, 1, 0, 0, 0], default=7)
    assert filled.values.tolist() == [2, 2, 6, 6, 7, 7]  # frame 3 is as near to 1 as to 5: the earlier wins


def test_rows_of_a_video_need_not_be_contiguous():
    filled = fill_scores(["a", "b", "a", "b"], [1, 1, 3, 2], np.array([1.0, 4.0, 0, 0]), [1, 1, 0, 0])
    assert filled.values.tolist() == [1, 4, 1, 4]


def test_smoothing_is_a_centred_mean_by_frame_number():
    videos, frames = ["a"] * 4, [1, 2, 3, 100]
    smoothed = smooth(videos, frames, np.array([0.0, 3.0, 6.0, 50.0]), 1)
    assert smoothed == pytest.approx([1.5, 3.0, 4.5, 50.0])  # 100 is a row's distance from 3, not a frame's


def slow_smooth(videos, frames, values, half):
    return [
        np.mean([v for g, f, v in zip(videos, frames, values, strict=True) if g == video and abs(f - frame) <= half])
        for video, frame in zip(videos, frames, strict=True)
    ]


rows = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 40), st.floats(-1, 1)), min_size=1, max_size=40)


@settings(max_examples=80, deadline=None)
@given(rows, st.integers(0, 12))
def test_smoothing_equals_its_definition_and_never_crosses_a_video(table, half):
    videos, frames, values = (list(column) for column in zip(*table, strict=True))
    smoothed = smooth(videos, frames, np.array(values), half)
    expected = slow_smooth(videos, frames, values, half) if half else values
    assert smoothed == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(0, 50), st.floats(-1, 1))
def test_a_constant_stays_exactly_that_constant(table, half, constant):
    videos, frames, _ = zip(*table, strict=True)
    assert (smooth(videos, frames, np.full(len(videos), constant), half) == constant).all()


def test_smoothing_refuses_gaps():
    with pytest.raises(MienError, match="fill the rows"):
        smooth(["a"], [1], np.array([np.nan]), 2)
    with pytest.raises(MienError, match="0 or more"):
        smooth(["a"], [1], np.array([0.0]), -1)


def test_a_sliced_or_chunked_axis_is_written_whole():
    axis = template("expr")
    sliced = type(axis)(axis.track, axis.header, pa.array(["x/00009.jpg", *AXIS]).slice(1), True)
    assert submission_bytes(sliced, np.array([0, 7, 3])) == submission_bytes(axis, np.array([0, 7, 3]))
