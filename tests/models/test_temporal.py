"""The temporal encoder: windows, gaps, positions."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from models.temporal import TemporalEncoder, sincos_positions, window_starts
from tests.models.parts import plain_cross_entropy


def build_temporal(window: int = 6, **changes: Any) -> TemporalEncoder:
    settings: dict[str, Any] = {"width": 8, "layers": 2, "heads": 2, "feedforward": 16, "dropout": 0.0}
    settings["outputs"] = {"expression": 4}
    return TemporalEncoder(5, window_frames=window, **settings | changes)


def plain_starts(length: int, window: int, stride: int) -> Iterator[int]:
    start = 0
    while start + window < length:
        yield start
        start += stride
    yield max(0, length - window)


@pytest.mark.parametrize("window", [1, 2, 7])
@pytest.mark.parametrize("length", range(1, 24))
def test_windows_cover_every_frame(length, window):
    for stride in range(1, window + 1):
        starts = window_starts(length, window, stride)
        covered = [frame for start in starts for frame in range(start, start + min(window, length))]
        assert set(covered) == set(range(length))
        assert starts == list(plain_starts(length, window, stride))


def test_windows_by_hand():
    assert window_starts(10, 4, 2) == [0, 2, 4, 6]
    assert window_starts(11, 4, 2) == [0, 2, 4, 6, 7]
    assert window_starts(4, 4, 2) == window_starts(3, 4, 2) == [0]


@pytest.mark.parametrize(("length", "stride"), [(17, 4), (17, 1), (18, 6), (6, 3), (4, 2), (1, 1)])
def test_logits_of_overlapping_windows_are_averaged(length, stride):
    system = build_temporal().eval()
    features, present = torch.randn(length, 5) * 3, torch.rand(length) < 0.7
    total, count = torch.zeros(length, 4), torch.zeros(length, 1)
    with torch.no_grad():
        for start in plain_starts(length, 6, stride):
            span = slice(start, start + 6)
            total[span] += system(features[None, span], present[None, span])["expression"][0]
            count[span] += 1
    found = system.predict_video(features, present, stride)["expression"]
    torch.testing.assert_close(found, (total / count).softmax(-1))


@pytest.mark.parametrize("mode", ["training", "evaluation"])  # torch computes them by different code
def test_frames_that_are_not_present_influence_nobody(mode):
    system = build_temporal().train(mode == "training")
    features, present = torch.randn(3, 6, 5), torch.tensor([[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1], [1] * 6]).bool()
    other = torch.where(present[..., None], features, torch.randn(3, 6, 5) * 50)
    moved = features.clone()
    moved[0, 0] += 3 * torch.randn(5)
    with torch.set_grad_enabled(mode == "training"):
        first, second, third = (system(x, present)["expression"] for x in (features, other, moved))
        shorter = system(features[:1, :4], present[:1, :4])["expression"]
    torch.testing.assert_close(first[present], second[present])
    assert not torch.allclose(first[0, 1], third[0, 1], atol=1e-3)  # one that is does
    torch.testing.assert_close(first[0, [0, 1, 3]], shorter[0, [0, 1, 3]])  # nor does the padding of a short video


def test_frames_that_are_not_present_or_not_labelled_cost_nothing():
    system = build_temporal()
    features, labels = torch.randn(2, 6, 5), torch.tensor([[0, 1, -1, 3, 2, 1], [3, -1, 0, 0, 1, 2]])
    present = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 1, 1]]).bool()
    kept = present & (labels >= 0)
    expected = plain_cross_entropy(system(features, present)["expression"][kept], labels[kept]).mean()
    batch = {"features": features, "present": present, "expression": labels}
    assert system.losses(batch)["expression"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_window_without_any_frame_gives_no_nan():
    system = build_temporal()
    features, labels = torch.randn(2, 6, 5), torch.zeros(2, 6, dtype=torch.int64)
    present = torch.tensor([[False] * 6, [True] * 6])
    loss = system.losses({"features": features, "present": present, "expression": labels})["expression"]
    loss.backward()
    grads = [p.grad for p in system.parameters()]
    assert torch.isfinite(loss) and all(grad is not None and torch.isfinite(grad).all() for grad in grads)
    for video in (present[0], torch.cat([present[0], present[1], present[0]])):
        found = system.eval().predict_video(torch.randn(len(video), 5), video, 3)["expression"]
        assert torch.isfinite(found).all()


def test_positions_by_hand():
    positions = sincos_positions(7, 6)
    assert positions.shape == (7, 6)
    for place in (0, 1, 6):
        for pair in range(3):
            angle = place / 10000 ** (2 * pair / 6)
            assert positions[place, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert positions[place, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_temporal_encoder_knows_the_order_of_frames():
    system, features = build_temporal().eval(), torch.randn(1, 6, 5)
    every, order = torch.ones(1, 6, dtype=torch.bool), torch.tensor([5, 3, 1, 0, 2, 4])
    straight, shuffled = (system(x, every)["expression"] for x in (features, features[:, order]))
    assert not torch.allclose(straight[:, order], shuffled, atol=1e-3)
    unordered = build_temporal(positions=False).eval()
    straight, shuffled = (unordered(x, every)["expression"] for x in (features, features[:, order]))
    torch.testing.assert_close(straight[:, order], shuffled)


def build_every(**changes: Any) -> TemporalEncoder:
    return build_temporal(outputs={"expression": 4, "aus": 12, "va": 2}, **changes)


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_absent_frames_reach_no_convolution_and_no_moment(mode):
    system = build_every(tcn_layers=2, standardise=True).train(mode == "training")
    features, present = torch.randn(3, 6, 5), torch.tensor([[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1], [1] * 6]).bool()
    other = torch.where(present[..., None], features, torch.randn(3, 6, 5) * 50)
    first, second = system(features, present), system(other, present)
    for task in first:
        torch.testing.assert_close(first[task][present], second[task][present])


def test_convolutions_tell_the_order_without_positions():
    features, every = torch.randn(1, 6, 5), torch.ones(1, 6, dtype=torch.bool)
    order = torch.tensor([5, 3, 1, 0, 2, 4])
    system = build_temporal(positions=False, tcn_layers=1).eval()
    straight, shuffled = (system(x, every)["expression"] for x in (features, features[:, order]))
    assert not torch.allclose(straight[:, order], shuffled, atol=1e-3)


def test_labels_of_absent_frames_change_no_loss():
    system = build_every()
    present = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 1, 1]]).bool()
    batch = {
        "features": torch.randn(2, 6, 5),
        "present": present,
        "expression": torch.randint(0, 4, (2, 6)),
        "aus": torch.randint(0, 2, (2, 6, 12)),
        "va": torch.rand(2, 6, 2) * 2 - 1,
    }
    other = batch | {
        "expression": torch.where(present, batch["expression"], 3),
        "aus": torch.where(present[..., None], batch["aus"], 1),
        "va": torch.where(present[..., None], batch["va"], 0.9),
    }
    first, second = system.losses(batch), system.losses(other)
    assert set(first) == {"expression", "aus", "va"}
    for task in first:
        assert first[task].item() > 0 and first[task].item() == pytest.approx(second[task].item())
    assert system.losses(batch | {"va": -batch["va"]})["va"].item() != pytest.approx(first["va"].item())
