"""Smoothing of predictions along time that knows videos and frame numbers."""

import numpy as np

from pipeline.abaw.fill import runs, video_codes
from pipeline.errors import MienError


def smooth(videos: np.ndarray, frames: np.ndarray, values: np.ndarray, half_window_frames: int) -> np.ndarray:
    """Centred mean over the rows of the same video whose frame lies within +-`half_window_frames`.

    videos, frames: (rows,); values: (rows,) or (rows, columns). The window is one of frame *numbers*: where
    frames are sampled or missing it holds fewer rows, and at a video's edge it is cut and normalised by what
    is left (no padding, no mixing across videos), so a constant stays that constant. O(rows) by prefix sums.
    Same shape, float64.
    """
    if half_window_frames < 0:
        raise MienError(f"half_window_frames is {half_window_frames}, expected 0 or more")
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise MienError("cannot smooth NaN or infinity. Mend: fill the rows without a prediction first")
    frames = np.asarray(frames, np.int64)
    smoothed = values.copy()
    if half_window_frames == 0:
        return smoothed
    for rows in runs(video_codes(np.asarray(videos))):
        rows = rows[np.argsort(frames[rows], kind="stable")]
        smoothed[rows] = _window_means(frames[rows], values[rows], half_window_frames)
    return smoothed


def _window_means(frames: np.ndarray, values: np.ndarray, half_window: int) -> np.ndarray:
    """Window means of one video's rows, sorted by frame."""
    centre = values.mean(axis=0)  # sums around the mean: exact for a constant, and no loss of digits in long videos
    sums = np.concatenate((np.zeros_like(values[:1]), np.cumsum(values - centre, axis=0)))
    start = np.searchsorted(frames, frames - half_window, "left")
    stop = np.searchsorted(frames, frames + half_window, "right")
    count = (stop - start).reshape(-1, *(1,) * (values.ndim - 1))
    means = (sums[stop] - sums[start]) / count + centre
    return np.clip(means, values.min(axis=0), values.max(axis=0))
