"""Schedules and groups of parameters."""

from typing import Any

import pytest
import torch
from torch import nn

from models.backbone import vit_backbone
from models.vit_heads import VitHeads
from pipeline.train.optimiser import learning_rate, make_optimiser, set_learning_rate
from tests.train.toys import OPTIMISE, STEPS


def test_learning_rate_warms_up_peaks_and_falls():
    rates = [learning_rate(step, OPTIMISE) for step in range(STEPS + 1)]
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert rates[4] == pytest.approx(0.1)
    assert rates[8] == pytest.approx((0.1 + 0.001) / 2)  # half way down the cosine
    assert rates[STEPS] == pytest.approx(0.001)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_learning_rate_scales_with_the_batch_and_needs_no_warm_up():
    half = OPTIMISE.model_copy(update={"batch": 128, "warmup_steps": 0})
    assert learning_rate(0, half) == pytest.approx(0.05)
    all_warm = OPTIMISE.model_copy(update={"warmup_steps": STEPS})
    assert learning_rate(STEPS - 1, all_warm) == pytest.approx(0.1)


def test_groups_keep_their_layer_decay():
    parameters = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    groups: list[dict[str, Any]] = [{"params": parameters[:1], "lr_scale": 0.5}, {"params": parameters[1:]}]
    optimizer = torch.optim.AdamW(groups)
    set_learning_rate(optimizer, 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]


def test_layer_decay_falls_towards_the_stem():
    vit = {"image_pixels": 16, "patch_pixels": 8, "width": 16, "depth": 2, "heads": 2}
    backbone = vit_backbone(vit, readout_grid=1)
    system = VitHeads(backbone, expressions=8, aus=False, va=False, label_smoothing=0.0, pseudo_weight=1.0)
    optimizer = make_optimiser(system, OPTIMISE.model_copy(update={"layer_decay": 0.5}))
    names = {id(p): name for name, p in system.named_parameters()}
    scale = {names[id(p)]: g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}
    decay = {names[id(p)]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert set(scale) == set(names.values())
    assert scale["heads.expression.weight"] == 1.0
    encoder = "backbone.network.encoder"
    block = [scale[f"{encoder}.blocks.{i}.mlp.fc1.weight"] for i in range(2)]
    assert scale[f"{encoder}.pos_embed"] < block[0] < block[1] < 1 and block[0] / block[1] == pytest.approx(0.5)
    assert decay["heads.expression.weight"] == 0.05
    undecayed = ("heads.expression.bias", f"{encoder}.cls_token", f"{encoder}.norm.weight")
    assert [decay[n] for n in undecayed] == [0, 0, 0]
