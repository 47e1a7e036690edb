"""Standardised features against hand-worked moments, and where their moments are kept."""

from typing import Any

import pytest
import torch
from torch import nn

from models.backbone import Backbone
from models.standardise import Standardise
from models.vit_heads import VitHeads
from tests.models.parts import pictures, pixel_backbone

FEATURES = torch.tensor([[1.0, 10.0], [3.0, 30.0], [5.0, 20.0]])


def standardise(width: int) -> Any:
    """Its moments are not said in types."""
    return Standardise(width)


def test_a_batch_is_told_in_deviations_from_its_mean():
    out = Standardise(2)(FEATURES)  # means 3 and 20; variances 8 / 3 and 200 / 3
    third = 1.5**0.5
    expected = torch.tensor([[-third, -third], [0.0, third], [third, 0.0]])
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


def test_running_moments_follow_by_a_tenth_and_serve_in_evaluation():
    module = standardise(2)
    module(FEATURES)  # a tenth of means 3 and 20, and of unbiased variances 4 and 100 beside nine tenths of 1
    assert module.running_mean.tolist() == pytest.approx([0.3, 2.0])
    assert module.running_var.tolist() == pytest.approx([0.9 + 0.4, 0.9 + 10.0])
    out = module.eval()(FEATURES)
    torch.testing.assert_close(out[0], torch.tensor([0.7 / 1.3**0.5, 8.0 / 10.9**0.5]), atol=1e-5, rtol=1e-5)
    assert torch.equal(out[:1], module(FEATURES[:1])) and module.running_mean.tolist() == pytest.approx([0.3, 2.0])


def test_what_is_not_seen_has_no_part_and_comes_out_as_zero():
    module, seen = standardise(2), torch.tensor([[True, True], [False, True], [True, True]])
    out = module(FEATURES, seen)  # the first feature of two faces: 1 and 5
    torch.testing.assert_close(out[:, 0], torch.tensor([-1.0, 0.0, 1.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(out[:, 1], Standardise(2)(FEATURES)[:, 1])
    assert module.running_mean.tolist() == pytest.approx([0.3, 2.0])
    assert module.running_var.tolist() == pytest.approx([0.9 + 0.8, 0.9 + 10.0])
    assert module.eval()(FEATURES, seen)[1, 0] == 0


def test_a_feature_that_one_face_shows_moves_no_moments():
    module, seen = standardise(2), torch.tensor([[True, True], [False, True], [False, True]])
    out = module(FEATURES, seen)
    assert out[:, 0].tolist() == [0, 0, 0] and module.running_mean[0] == 0 and module.running_var[0] == 1


def test_all_seen_is_the_library_s_batch_norm():
    ours, library = standardise(5), nn.BatchNorm1d(5, eps=1e-6, affine=False)
    for _ in range(3):
        features = 3 * torch.randn(7, 5) + 2
        torch.testing.assert_close(ours(features, torch.ones(7, 5, dtype=torch.bool)), library(features))
        torch.testing.assert_close(ours.running_mean, library.running_mean)
        torch.testing.assert_close(ours.running_var, library.running_var)


def test_a_batch_of_one_is_told_by_running_moments():
    module = standardise(2)
    torch.testing.assert_close(module(FEATURES[:1]), FEATURES[:1], rtol=1e-5, atol=0)
    assert module.running_mean.tolist() == [0, 0]


def heads(backbone: Backbone) -> VitHeads:
    return VitHeads(backbone, expressions=8, aus=False, va=False, label_smoothing=0.0, pseudo_weight=0.5)


def test_saved_weights_hold_the_moments_and_a_head_has_no_other_norm():
    backbone, plain = pixel_backbone(4), pixel_backbone(4)
    backbone.standardise()
    system = heads(backbone)
    system(pictures(6, 4))
    state = system.state_dict()
    assert {"backbone.standardised.running_mean", "backbone.standardised.running_var"} <= state.keys()
    assert isinstance(system.norm, nn.Identity) and isinstance(heads(plain).norm, nn.LayerNorm)
    again = pixel_backbone(4)
    again.standardise()
    loaded, images = heads(again), pictures(3, 4)
    loaded.load_state_dict(state)
    assert torch.equal(loaded.eval()(images)["expression"], system.eval()(images)["expression"])
    assert not any(parameter.numel() for parameter in backbone.parameters())  # moments alone: nothing is learnt
