"""Thresholds against values worked out by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models.thresholds import DynamicThreshold, FixedThreshold, SelfAdaptiveThreshold


def rows_of(*answers: tuple[int, float], classes: int = 4) -> Tensor:
    """Probabilities (rows, classes) that give one class so much and the others the same."""
    rows = torch.tensor([[(1 - p) / (classes - 1)] * classes for _, p in answers])
    for row, (guess, p) in zip(rows, answers, strict=True):
        row[guess] = p
    return rows


def test_dynamic_threshold_by_hand():
    threshold = DynamicThreshold(4, floor=0.8, momentum=0.9)
    threshold.tau.copy_(torch.tensor([0.8, 0.9, 0.95, 0.85]))
    answers = rows_of((0, 0.9), (0, 1.0), (1, 0.99), (1, 0.7), (1, 0.8), (2, 0.99), (3, 0.97), (3, 0.5))
    labels = torch.tensor([0, 0, 2, 1, 1, 3, 3, -1])
    threshold.update(answers, labels)
    # class 0: both right, mean 0.95; class 1: mean 0.75 is below the floor; class 2: its one sample is taken for class
    # 1; class 3: the right one has 0.97, the unlabelled one does not count
    assert threshold.tau.tolist() == pytest.approx([0.9 * 0.8 + 0.1 * 0.95, 0.8, 0.8, 0.9 * 0.85 + 0.1 * 0.97])


def test_dynamic_threshold_converges_on_the_mean_confidence_and_falls_at_once():
    threshold = DynamicThreshold(4)
    assert threshold.tau.tolist() == pytest.approx([0.8] * 4)
    for epoch in range(1, 6):
        threshold.update(rows_of((2, 0.96), (2, 0.94)), torch.tensor([2, 2]))
        assert threshold.tau[2].item() == pytest.approx(0.95 - 0.15 * 0.9**epoch)
    threshold.update(rows_of((2, 0.79)), torch.tensor([2]))
    assert threshold.tau.tolist() == pytest.approx([0.8] * 4)


def test_dynamic_threshold_keeps_to_its_own_floor_and_momentum():
    threshold = DynamicThreshold(4, floor=0.6, momentum=0.5)
    threshold.update(rows_of((0, 0.7), (1, 0.55)), torch.tensor([0, 1]))
    assert threshold.tau.tolist() == pytest.approx([0.65, 0.6, 0.6, 0.6])


def test_an_answer_counts_from_the_threshold_of_its_own_class():
    threshold = FixedThreshold(4, 0.5)
    threshold.tau.copy_(torch.tensor([0.5, 0.625, 0.75, 0.875]))
    answers = rows_of((0, 0.5), (0, 0.49), (1, 0.61), (1, 0.63), (2, 0.75), (3, 0.86), (3, 0.9))
    assert threshold.accept(answers).tolist() == [True, False, False, True, True, False, True]


def test_fixed_threshold_learns_nothing():
    threshold = FixedThreshold(4, 0.95)
    threshold.observe(rows_of((0, 0.3), (1, 0.99)))
    threshold.update(rows_of((0, 0.3), (1, 0.99)), torch.tensor([0, 1]))
    assert threshold.tau.tolist() == pytest.approx([0.95] * 4)


def test_self_adaptive_threshold_by_hand():
    threshold = SelfAdaptiveThreshold(3, momentum=0.75)
    assert threshold.tau.tolist() == pytest.approx([1 / 3] * 3)
    batches = [[[0.6, 0.3, 0.1], [0.2, 0.8, 0.0]], [[0.9, 0.05, 0.05]]]
    time_p, p_model = 1 / 3, np.full(3, 1 / 3)
    for batch, highest in zip(batches, (0.7, 0.9), strict=True):
        threshold.observe(torch.tensor(batch))
        time_p = 0.75 * time_p + 0.25 * highest
        p_model = 0.75 * p_model + 0.25 * np.mean(batch, axis=0)
        assert threshold.tau.tolist() == pytest.approx((time_p * p_model / p_model.max()).tolist())
    assert time_p == pytest.approx(0.75 * (0.25 + 0.175) + 0.225)
    tau = threshold.tau.clone()
    threshold.update(rows_of((0, 0.9), classes=3), torch.tensor([0]))
    assert torch.equal(threshold.tau, tau)
