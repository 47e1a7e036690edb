"""Predictions for frames that have none (no face was found), taken from their own video."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


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


def _fill(
    videos: np.ndarray,
    frames: np.ndarray,
    values: np.ndarray,
    present: np.ndarray,
    default: np.ndarray,
    nearest: bool,
) -> Filled:
    filled = values.copy()
    filled[~present] = default
    for rows in runs(video_codes(videos)):
        known, gaps = rows[present[rows]], rows[~present[rows]]
        if not len(known) or not len(gaps):
            continue
        known = known[np.argsort(frames[known], kind="stable")]
        filled[gaps] = (_nearest if nearest else _interpolated)(frames[gaps], frames[known], values[known])
    return Filled(filled, ~present)


def _interpolated(at: np.ndarray, frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    columns = values.reshape(len(values), -1).T
    return np.stack([np.interp(at, frames, column) for column in columns], axis=-1).reshape(len(at), *values.shape[1:])


def _nearest(at: np.ndarray, frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    right = np.clip(np.searchsorted(frames, at), 0, len(frames) - 1)
    left = np.maximum(right - 1, 0)
    take_left = np.abs(at - frames[left]) <= np.abs(frames[right] - at)  # the earlier frame wins a tie
    return values[np.where(take_left, left, right)]


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
    return _fill(videos, frames, np.asarray(values, np.float64), present, np.asarray(default), nearest=False)


def fill_classes(
    videos: np.ndarray,
    frames: np.ndarray,
    values: np.ndarray,
    present: np.ndarray,
    default: int | np.ndarray = 0,
) -> Filled:
    """Take the class of the nearest frame of the same video, the earlier one when two are equally near.

    Shapes as for `fill_scores`; `default` is the class for a video that has no prediction at all.
    """
    videos, frames, present = np.asarray(videos), np.asarray(frames), np.asarray(present, bool)
    return _fill(videos, frames, np.asarray(values), present, np.asarray(default), nearest=True)
