"""Gaps and jitter in time: frames without a face get a prediction from their own video, and scores are smoothed.

Both know videos and frame numbers: nothing crosses from one video into another, and a sampled or missing frame is a
distance, not a row.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.errors import MienError


@dataclass(frozen=True)
class Filled:
    """`values` without gaps, and `mask` (rows,): which rows were filled."""

    values: np.ndarray
    mask: np.ndarray


def video_codes(videos: np.ndarray) -> np.ndarray:
    """Videos numbered in order of first appearance, (rows,); hashed, since sorting a million names takes seconds."""
    return pa.array(videos).dictionary_encode().indices.to_numpy()


def runs(codes: np.ndarray) -> list[np.ndarray]:
    """Row indices of each video by its code; a video's rows need not be contiguous."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []


def _interpolated(at: np.ndarray, frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    columns = values.reshape(len(values), -1).T
    return np.stack([np.interp(at, frames, column) for column in columns], axis=-1).reshape(len(at), *values.shape[1:])


def fill_scores(
    videos: np.ndarray,
    frames: np.ndarray,
    values: np.ndarray,
    present: np.ndarray,
    default: float | np.ndarray = 0.0,
) -> Filled:
    """Interpolate scores linearly by frame distance within each video; the ends repeat the first and last.

    videos, frames, present: (rows,); values: (rows,) or (rows, columns), read only where `present`. `default`
    (a number or one per column) is used for a video that has no prediction at all.
    """
    videos, frames, present = np.asarray(videos), np.asarray(frames), np.asarray(present, bool)
    values = np.asarray(values, np.float64)
    filled = values.copy()
    filled[~present] = np.asarray(default)
    for rows in runs(video_codes(videos)):
        known, gaps = rows[present[rows]], rows[~present[rows]]
        if not len(known) or not len(gaps):
            continue
        known = known[np.argsort(frames[known], kind="stable")]
        filled[gaps] = _interpolated(frames[gaps], frames[known], values[known])
    return Filled(filled, ~present)


def rows_behind(videos: np.ndarray, frames: np.ndarray, present: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which rows with a score of their own the filled scores of the `wanted` rows come from, (rows,).

    A wanted row itself where it is `present`, else its nearest present neighbours of the same video, as `fill_scores`
    interpolates. All arguments are (rows,).
    """
    codes, numbers = video_codes(np.asarray(videos)), np.arange(len(frames))
    order = np.lexsort((frames, codes))
    known, video, sought = np.asarray(present, bool)[order], codes[order], (wanted & ~present)[order]
    behind = np.asarray(wanted & present)
    before = np.maximum.accumulate(np.where(known, numbers, -1))
    after = np.minimum.accumulate(np.where(known, numbers, len(numbers))[::-1])[::-1]
    for nearest in (before[sought], after[sought]):
        inside = (nearest >= 0) & (nearest < len(numbers))
        inside[inside] = video[nearest[inside]] == video[sought][inside]
        behind[order[nearest[inside]]] = True
    return behind


class Smoother:
    """The rows of each video in the order of their frames, found once for any number of scores to be smoothed."""

    def __init__(self, videos: np.ndarray, frames: np.ndarray) -> None:
        """Both (rows,)."""
        self._frames = np.asarray(frames, np.int64)
        each = runs(video_codes(np.asarray(videos)))
        self._videos = [rows[np.argsort(self._frames[rows], kind="stable")] for rows in each]

    def smooth(self, values: np.ndarray, half_window_frames: int) -> np.ndarray:
        """As `smooth` of these videos and frames."""
        if half_window_frames < 0:
            raise MienError(f"half_window_frames is {half_window_frames}, expected 0 or more")
        values = np.asarray(values, np.float64)
        if not np.isfinite(values).all():
            raise MienError("cannot smooth NaN or infinity. Mend: fill the rows without a prediction first")
        if half_window_frames == 0:
            return values.copy()
        smoothed = np.empty_like(values)
        for rows in self._videos:
            smoothed[rows] = _window_means(self._frames[rows], values[rows], half_window_frames)
        return smoothed


def smooth(videos: np.ndarray, frames: np.ndarray, values: np.ndarray, half_window_frames: int) -> np.ndarray:
    """Centred mean over the rows of the same video whose frame lies within +-`half_window_frames`.

    videos, frames: (rows,); values: (rows,) or (rows, columns). The window is one of frame *numbers*: where
    frames are sampled or missing it holds fewer rows, and at a video's edge it is cut and normalised by what
    is left (no padding, no mixing across videos), so a constant stays that constant. O(rows) by prefix sums.
    Same shape, float64.
    """
    return Smoother(videos, frames).smooth(values, half_window_frames)


def _window_means(frames: np.ndarray, values: np.ndarray, half_window: int) -> np.ndarray:
    """Window means of one video's rows, sorted by frame."""
    centre = values.mean(axis=0)  # sums around the mean: exact for a constant, and no loss of digits in long videos
    sums = np.concatenate((np.zeros_like(values[:1]), np.cumsum(values - centre, axis=0)))
    start = np.searchsorted(frames, frames - half_window, "left")
    stop = np.searchsorted(frames, frames + half_window, "right")
    count = (stop - start).reshape(-1, *(1,) * (values.ndim - 1))
    means = (sums[stop] - sums[start]) / count + centre
    return np.clip(means, values.min(axis=0), values.max(axis=0))
