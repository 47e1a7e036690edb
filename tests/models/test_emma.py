"""EMMA: what reaches which part, and masks of each task."""

from typing import Any

import pytest
import torch

from models.backbone import vit_backbone
from models.dan import DanNet
from models.emma import Emma
from models.system import Batch
from tests.models.parts import VIT, gradients, pictures


def build_emma(readout_grid: int = 0, **changes: Any) -> Emma:
    cnn = DanNet(channels=[4, 4, 8, 16], layers=[1, 1, 1, 1], attention_heads=2, classes=6)
    settings: dict[str, Any] = {"hidden": 16, "va_hidden": 8, "va_from": "scores", "va_rate": 1e-3, "au_weight": 1.0}
    settings |= {"au_pos_weight": [float(unit + 1) for unit in range(12)]}
    return Emma(vit_backbone(VIT, readout_grid), cnn, 6, **settings | changes)


def mtl_batch(rows: int = 6) -> Batch:
    return {
        "images": pictures(rows),
        "expression": torch.arange(rows) % 8,
        "aus": torch.randint(0, 2, (rows, 12)),
        "va": torch.rand(rows, 2) * 2 - 1,
    }


def test_emma_head_sees_the_networks_scores_the_expressions_and_the_units():
    system, images = build_emma().eval(), pictures(4)
    inputs, scores, tokens = [], [], []
    system.va_head[0].register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    system.head.register_forward_hook(lambda module, given, output: scores.append((given[0], output)))
    system.encoder.norm.register_forward_hook(lambda module, given, output: tokens.append(output))
    out = system(images)
    assert inputs[0].shape == (4, 26) and out["expression"].shape == (4, 8) and out["aus"].shape == (4, 12)
    assert torch.equal(inputs[0], torch.cat([system.cnn(images), out["expression"], out["aus"]], dim=1))
    assert torch.equal(scores[0][1], torch.cat([out["expression"], out["aus"]], dim=1))
    assert torch.equal(scores[0][0], tokens[0][:, 0])


def test_emma_gradient_of_valence_and_arousal_reaches_the_vit_but_not_the_network():
    system = build_emma()
    part = system.losses(mtl_batch())["va"]
    assert all(gradients(part, system.head)) and all(gradients(part, system.encoder))
    assert not any(parameter.requires_grad for parameter in system.cnn.parameters())


@pytest.mark.parametrize(("va_from", "reached"), [("scores", True), ("features", False)])
def test_emma_valence_may_come_from_the_class_token_alone(va_from, reached):
    system = build_emma(va_from=va_from)
    part = system.losses(mtl_batch())["va"]
    assert all(gradients(part, system.encoder)) and any(gradients(part, system.head)) == reached
    wide = build_emma(va_from=va_from, readout_grid=2)
    for arm, features in ((system, 16), (wide, 64)):
        assert arm.va_head[0].in_features == 26  # 6 + 8 + 12: the arms of the comparison have heads of the same size
        assert reached or (arm.va_features.in_features, arm.va_features.out_features) == (features, 26)


def test_emma_network_stays_as_it_is_in_training():
    system = build_emma().train()
    assert system.training and system.encoder.training
    assert not any(module.training for module in system.cnn.modules())
    before = {name: tensor.clone() for name, tensor in system.cnn.state_dict().items()}
    for _ in range(3):
        sum(system.losses(mtl_batch()).values(), torch.zeros(())).backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in system.cnn.state_dict().items())
    assert all(parameter.grad is None for parameter in system.cnn.parameters())


@pytest.mark.parametrize(("task", "invalid"), [("expression", -1), ("aus", -1), ("va", -5)])
def test_emma_masks_each_task_by_itself(task, invalid):
    system, batch = build_emma().eval(), mtl_batch()
    labels = batch[task].clone()
    labels[[1, 4]] = invalid
    whole, masked = system.losses(batch), system.losses(batch | {task: labels})
    assert {name for name in whole if whole[name] != masked[name]} == {task}
    kept = {name: tensor[[0, 2, 3, 5]] for name, tensor in batch.items()}
    scale = 4 / 6 if task == "aus" else 1  # the sum over units is divided by all frames
    assert masked[task].item() == pytest.approx(scale * system.losses(kept)[task].item(), rel=1e-5)


def test_emma_weighs_the_units():
    batch = mtl_batch()
    system = build_emma().eval()
    logits = system(batch["images"])["aus"].double()
    active, odds = batch["aus"].double(), torch.arange(1.0, 13.0)
    each = odds * active * (1 + (-logits).exp()).log() + (1 - active) * (1 + logits.exp()).log()
    assert system.losses(batch)["aus"].item() == pytest.approx(each.sum().item() / 6, rel=1e-5)
    system.au_weight = 1 / 12  # the mean over units
    assert system.losses(batch)["aus"].item() == pytest.approx(each.mean().item(), rel=1e-5)
