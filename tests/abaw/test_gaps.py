"""Fill and smoothing stay within a video."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.abaw.gaps import fill_scores, rows_behind, smooth
from pipeline.core.errors import MienError


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


def test_rows_of_a_video_need_not_be_contiguous():
    videos, frames, present = np.array(["a", "b", "a", "b"]), np.array([1, 1, 3, 2]), np.array([1, 1, 0, 0])
    filled = fill_scores(videos, frames, np.array([1.0, 4.0, 0, 0]), present)
    assert filled.values.tolist() == [1, 4, 1, 4]


def test_smoothing_is_a_centred_mean_by_frame_number():
    videos, frames = np.array(["a"] * 4), np.array([1, 2, 3, 100])
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
    smoothed = smooth(np.array(videos), np.array(frames), np.array(values), half)
    expected = slow_smooth(videos, frames, values, half) if half else values
    assert smoothed == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(0, 50), st.floats(-1, 1))
def test_a_constant_stays_exactly_that_constant(table, half, constant):
    videos, frames, _ = zip(*table, strict=True)
    assert (smooth(np.array(videos), np.array(frames), np.full(len(videos), constant), half) == constant).all()


def test_smoothing_refuses_gaps():
    with pytest.raises(MienError, match="fill the rows"):
        smooth(np.array(["a"]), np.array([1]), np.array([np.nan]), 2)
    with pytest.raises(MienError, match="0 or more"):
        smooth(np.array(["a"]), np.array([1]), np.array([0.0]), -1)


FRAME = st.tuples(st.sampled_from("abc"), st.integers(1, 9))


@given(st.lists(FRAME, min_size=1, max_size=40), st.sets(FRAME), st.sets(FRAME))
def test_rows_behind_are_all_that_filling_reads(rows, faces, labelled):
    """The wanted rows' filled scores are the same bits from these alone; a frame that stands twice has one face."""
    generator = np.random.default_rng(0)
    score = {row: generator.normal(size=3) for row in sorted(set(rows))}
    videos, frames = (np.array(column) for column in zip(*rows, strict=True))
    values, present, wanted = (
        np.array([f(row) for row in rows]) for f in (score.get, faces.__contains__, labelled.__contains__)
    )
    behind = rows_behind(videos, frames, present, wanted)
    assert not (behind & ~present).any() and behind[wanted & present].all()
    whole = fill_scores(videos, frames, values, present, 0.5).values
    less = fill_scores(videos, frames, np.where(behind[:, None], values, np.nan), behind, 0.5).values
    assert (whole[wanted] == less[wanted]).all()


def test_rows_behind_are_few():
    """The face itself, or the two around a gap; never what lies behind them or in another video."""
    videos = np.array(list("aaaaaaabb"))
    frames = np.array([1, 2, 3, 4, 5, 6, 7, 1, 2])
    present = np.array([1, 1, 0, 0, 1, 1, 1, 1, 0], bool)
    wanted = np.array([0, 0, 1, 0, 0, 0, 1, 0, 1], bool)
    assert rows_behind(videos, frames, present, wanted).tolist() == [
        False,
        True,
        False,
        False,
        True,
        False,
        True,
        True,
        False,
    ]
    assert not rows_behind(videos, frames, present, np.zeros(9, bool)).any()
