"""The dynamic threshold module against values worked out by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.dtm import Dtm
from models.system import Batch
from models.thresholds import FixedThreshold, SelfAdaptiveThreshold
from tests.models.parts import enliven, pictures, pixel_backbone, plain_cross_entropy


def build_dtm(threshold: FixedThreshold, **changes: Any) -> Dtm:
    settings: dict[str, Any] = {"classes": 4, "scale": 3.0, "unlabelled_weight": 0.5, "supervised_steps": 0}
    system = Dtm(pixel_backbone(2), threshold, **settings | changes)
    enliven(system, 0.7)
    return system


def dtm_batch() -> Batch:
    weak = pictures(40, 2)
    other = (weak.float() + torch.randn(weak.shape) * 60).clamp(0, 255).byte()
    batch = {"images": pictures(6, 2), "expression": torch.tensor([0, 1, 2, 3, -1, 1])}
    return batch | {"weak": weak, "other_weak": other, "strong": pictures(40, 2)}


def dtm_logits(system: Dtm, images: Tensor) -> Tensor:
    x = (images.flatten(1).double() / 255 - 0.5) / 0.5
    x = x / x.square().sum(dim=1, keepdim=True).sqrt()
    return system.scale * x @ system.head.weight.double().T + system.head.bias.double()


def test_dtm_loss_by_hand():
    threshold = FixedThreshold(4, 0.5)
    threshold.tau.copy_(torch.tensor([0.7, 0.5, 0.6, 0.8]))
    system, batch = build_dtm(threshold), dtm_batch()
    views = [dtm_logits(system, batch[name]).exp() for name in ("weak", "other_weak")]
    weak, other = (view / view.sum(dim=1, keepdim=True) for view in views)
    each = plain_cross_entropy(dtm_logits(system, batch["strong"]), ((weak + other) / 2).argmax(dim=1))
    total, accepted = 0.0, 0
    for mean, loss in zip(((weak + other) / 2).tolist(), each.tolist(), strict=True):
        guess = int(np.argmax(mean))
        if mean[guess] >= threshold.tau[guess]:
            total, accepted = total + loss, accepted + 1
    assert 5 < accepted < 35
    assert not torch.equal(weak.argmax(dim=1), ((weak + other) / 2).argmax(dim=1))  # the second view has a say
    parts = system.losses(batch)
    assert parts["unlabelled"].item() == pytest.approx(0.5 * total / 40, rel=1e-5)
    kept = [0, 1, 2, 3, 5]
    labelled = plain_cross_entropy(dtm_logits(system, batch["images"][kept]), batch["expression"][kept])
    assert parts["expression"].item() == pytest.approx(labelled.mean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("weight", "steps", "unlabelled"), [(0.5, 2, [0, 0, 1, 1]), (0.5, 0, [1] * 4), (0.0, 0, [0] * 4)]
)
def test_dtm_begins_with_labelled_faces_alone(weight, steps, unlabelled):
    system, batch = build_dtm(FixedThreshold(4, 0.0), unlabelled_weight=weight, supervised_steps=steps), dtm_batch()
    assert ["unlabelled" in system.losses(batch) for _ in unlabelled] == unlabelled
    assert int(system.step) == 4


def test_dtm_thresholds_see_a_batch_before_they_judge_it():
    system, batch = build_dtm(SelfAdaptiveThreshold(4, momentum=0.0)), dtm_batch()
    guess, accepted = system.pseudo_labels(batch["weak"], batch["other_weak"])
    mean = (dtm_logits(system, batch["weak"]).softmax(-1) + dtm_logits(system, batch["other_weak"]).softmax(-1)) / 2
    classes = mean.mean(dim=0)
    tau = mean.max(dim=1).values.mean() * classes / classes.max()
    assert torch.equal(guess, mean.argmax(dim=1))
    assert torch.equal(accepted, mean.max(dim=1).values >= tau[guess]) and 0 < accepted.sum() < 40
