"""Windows of features."""

import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.temporal import TemporalEncoder
from pipeline.core.parquet import write_parquet
from pipeline.faces.crops import Crops
from pipeline.settings import Params
from pipeline.systems.feedback import Settings
from pipeline.systems.temporal import SequenceData, Temporal, first_rows, temporal_recipe, videos_of
from pipeline.tables.features import Features
from pipeline.train.fit import fit, seed_weights
from tests.mini import feature_table


def test_videos_of_gives_each_video_in_the_order_of_its_frames():
    axis = pa.table({"video": ["b", "a", "b", "a", "c"], "frame": [2, 7, 1, 3, 1]})
    assert [rows.tolist() for rows in videos_of(axis)] == [[3, 1], [2, 0], [4]]
    assert videos_of(axis.slice(0, 0)) == []


def test_a_row_that_a_list_holds_twice_is_one_frame_with_one_answer(mini, tiny):
    axis = pa.table({"video": ["b", "a", "b", "a", "b"], "frame": [2, 7, 1, 7, 2]})
    assert [rows.tolist() for rows in videos_of(axis)] == [[1], [2, 0]]
    assert first_rows(axis).tolist() == [0, 1, 2, 1, 0]
    data = windows(tiny, 4)
    torch.manual_seed(0)
    system = TemporalEncoder(
        2, outputs={"expression": 8}, window_frames=4, width=8, layers=1, heads=2, feedforward=16, dropout=0.1
    ).eval()
    once, rows = data.predict(system, data.validation)["expression"], np.array([3, 0, 5, 3, 1, 2, 4, 1, 3])
    twice = copy.copy(data.validation)
    twice.table, twice.places = twice.table.take(rows), twice.places[rows]
    np.testing.assert_array_equal(data.predict(system, twice)["expression"], once[rows])


def temporal_settings(tiny: Params) -> Temporal:
    feedback = tiny.systems["feedback"]
    assert isinstance(feedback, Settings)
    return feedback.temporal


def windows(tiny: Params, window: int, balance: float = 0.0) -> SequenceData:
    """The feature of a frame is the number of its video, from 1, and its own."""
    temporal = temporal_settings(tiny)
    train = temporal.train.model_copy(update={"balance": balance})
    settings = temporal.model_copy(update={"window_frames": window, "stride_frames": 2, "train": train})
    faces = Crops("aff-wild2").table
    numbers = [" abvt".index(video) for video in faces["video"].to_pylist()]
    features = np.stack([numbers, faces["frame"].to_numpy()], axis=1)
    order = np.random.default_rng(0).permutation(len(faces))
    write_parquet(Path("windows.parquet"), feature_table(faces.take(order), features[order]), rows_per_group=3)
    return SequenceData("expr", settings, Features(Path("windows.parquet")))


def true_label(video: int, frame: int) -> int:
    return -1 if (video, frame) == (1, 5) else (frame - 1 + 8 * (video == 2)) % 8


@pytest.mark.parametrize("window", [4, 8, 12])
def test_windows_hold_frames_in_a_row_of_one_video(mini, tiny, window):
    data = windows(tiny, window)
    seen = set()
    for seed in range(6):
        batch = data.batch(np.random.default_rng(seed), 8)
        assert batch["features"].shape == (8, window, 2) and batch["features"].dtype == torch.float32
        for features, present, labels in zip(*(batch[n] for n in ("features", "present", "expression")), strict=True):
            (video,) = set(features[present][:, 0].int().tolist())  # never two
            assert not features[~present].any()
            places = torch.arange(window)
            (start,) = set((features[present][:, 1].int() - places[present]).tolist())  # frames in a row
            frames = (places + start).tolist()
            last = {1: 8, 2: 9}[video]
            assert start >= 1 and (start == 1 if window >= last else frames[-1] <= last)
            expected = [f <= last and (video, f) != (1, 3) for f in frames]  # neither beyond the video nor faceless
            assert present.tolist() == expected
            inside = [f <= last for f in frames]
            assert labels.tolist() == [true_label(video, f) if ok else -1 for f, ok in zip(frames, inside, strict=True)]
            seen |= {(video, f) for f, ok in zip(frames, expected, strict=True) if ok}
    assert len(seen) == 16  # all frames with a face come up, the one without a label beside others


def test_windows_are_drawn_around_rare_classes(mini, tiny):
    """Class 4 has one of the fifteen frames that count; the frame without a label is but a neighbour."""

    def share(label: int, balance: float) -> float:
        data = windows(tiny, 2, balance)
        chosen = torch.cat([data.batch(np.random.default_rng(seed), 50)["expression"] for seed in range(8)])
        return float((chosen == label).any(dim=1).float().mean())

    assert share(4, 1.0) > 1.3 * share(4, 0.0) > 0
    assert 0 < share(-1, 1.0) < 0.1  # about a sixteenth; were it a class of its own, a sixth


def test_video_predictions_leave_gaps_and_keep_videos_apart(mini, tiny):
    data = windows(tiny, 4)
    torch.manual_seed(0)
    system = TemporalEncoder(
        2, outputs={"expression": 8}, window_frames=4, width=8, layers=1, heads=2, feedforward=16, dropout=0.1
    ).eval()
    scores = data.predict(system, data.validation)["expression"]
    assert scores.shape == (6, 8) and np.isnan(scores).all(axis=1).tolist() == [False, True] + [False] * 4
    features = torch.tensor([[3.0, f] if f != 2 else [0.0, 0.0] for f in range(1, 7)])
    alone = system.predict_video(features, features[:, 0] > 0, 2)["expression"].numpy()
    np.testing.assert_allclose(scores[[0, 2, 3, 4, 5]], alone[[0, 2, 3, 4, 5]], atol=1e-6)
    second = torch.tensor([[2.0, f] for f in range(1, 10)])
    both = data.predict(system, data.train)["expression"]
    expected = system.predict_video(second, torch.ones(9, dtype=torch.bool), 2)["expression"]
    np.testing.assert_allclose(both[8:], expected.numpy(), atol=1e-6)


def test_the_temporal_encoder_trains(mini, tiny, tmp_path):
    faces = Crops("aff-wild2").table
    features = np.random.default_rng(0).normal(size=(len(faces), 12))
    write_parquet(tmp_path / "features.parquet", feature_table(faces, features))
    data = SequenceData("expr", temporal_settings(tiny), Features(tmp_path / "features.parquet"))
    seed_weights(tiny.finetune)
    made = temporal_recipe(data)
    system, training = fit("temporal encoder", made, tiny.finetune, tmp_path, lambda metrics, step: None)
    losses = [row["loss"] for row in training.history if "loss" in row]
    assert np.isfinite(losses).all() and losses[-1] != losses[0]
    assert [row["step"] for row in training.history if "score" in row] == [3, 6]
    first: Any = cast(TemporalEncoder, system).embed
    assert first.in_features == data.width == 12
