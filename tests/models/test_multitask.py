"""Multi-task networks: appearance losses, the exchange, and the average of networks."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from models.backbone import vit_backbone
from models.losses import expression_loss
from models.multitask import Exchange, Multitask, appearance_loss
from models.system import Batch
from tests.models.parts import VIT, enliven, gradients, pictures

NAN = float("nan")


def test_appearance_losses_by_hand_leave_unknown_targets_out():
    output = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 5.0]])
    target = torch.tensor([[0.0, 4.0], [NAN, 4.0], [NAN, NAN]])  # known in part is not known
    assert appearance_loss("pose", output, target).item() == pytest.approx((1 + 4) / 2)
    assert appearance_loss("landmarks", output, target).item() == pytest.approx((1 + 4) / 2)
    cosine = (1 * 0 + 2 * 4) / (math.sqrt(5) * 4)
    assert appearance_loss("identity", output, target).item() == pytest.approx(1 - cosine, rel=1e-6)
    logits, sex = torch.tensor([[math.log(3)], [0.0], [9.0]]), torch.tensor([[1.0], [0.0], [NAN]])
    expected = (math.log(4 / 3) + math.log(2)) / 2
    assert appearance_loss("sex", logits, sex).item() == pytest.approx(expected, rel=1e-6)
    assert appearance_loss("age", logits[:1], torch.tensor([[0.0]])).item() == pytest.approx(math.log(3) ** 2)


@pytest.mark.parametrize("name", ["landmarks", "pose", "identity", "age", "sex"])
def test_unknown_appearance_gives_no_gradient(name):
    output = torch.randn(3, 1, requires_grad=True)
    target = torch.tensor([[NAN], [1.0], [NAN]])
    appearance_loss(name, output, target).backward()
    assert output.grad is not None
    assert torch.isfinite(output.grad).all() and not output.grad[[0, 2]].any()
    value = appearance_loss(name, output, torch.full((3, 1), NAN))
    assert value.item() == 0 and not torch.autograd.grad(value, output)[0].any()


def test_exchange_adds_a_gated_view_of_the_other_branch():
    exchange: Any = Exchange(3)
    enliven(exchange)
    emotion, appearance = torch.randn(2, 5, 3)

    def told(number: int, other: Tensor) -> Tensor:
        value, gate = exchange.values[number], exchange.gates[number]
        return (other @ value.weight.T + value.bias) / (1 + (-(other @ gate.weight.T + gate.bias)).exp())

    first, second = exchange(emotion, appearance)
    torch.testing.assert_close(first, emotion + told(0, appearance))
    torch.testing.assert_close(second, appearance + told(1, emotion))


def build_multitask(networks: int = 2, **weights: float) -> Any:
    """A `Multitask`; what its networks are made of is not said in types."""
    weights = {"landmarks": 0.5, "pose": 2.0, "identity": 0.0, "age": 0.0, "sex": 0.0} | weights
    backbones = [vit_backbone(VIT, 1 + number) for number in range(networks)]
    return Multitask(backbones, width=8, classes=6, appearance_weights=weights, identity_width=4)


def multitask_batch() -> Batch:
    batch = {"images": pictures(5), "expression": torch.tensor([0, 1, -1, 3, 4])}
    return batch | {"landmarks": torch.rand(5, 10), "pose": torch.rand(5, 2), "identity": torch.randn(5, 4)}


def test_multitask_loss_is_the_weighted_sum_over_networks():
    system, batch = build_multitask(identity=3.0), multitask_batch()
    expected = dict.fromkeys(("expression", "landmarks", "pose", "identity"), 0.0)
    for network in system.networks:
        logits, outputs = network(batch["images"])
        assert set(outputs) == {"landmarks", "pose", "identity"}
        expected["expression"] += expression_loss(logits, batch["expression"], torch.ones(5)).item()
        for name, weight in (("landmarks", 0.5), ("pose", 2.0), ("identity", 3.0)):
            expected[name] += weight * appearance_loss(name, outputs[name], batch[name]).item()
    parts = system.losses(batch)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(expected, rel=1e-5)


def test_a_target_of_no_weight_has_no_head():
    system = build_multitask(pose=0.0)
    assert all(set(network.appearance_heads) == {"landmarks"} for network in system.networks)
    batch = multitask_batch()
    assert set(system.losses({name: batch[name] for name in ("images", "expression", "landmarks")})) == {
        "expression",
        "landmarks",
    }


def test_multitask_networks_learn_apart_and_their_probabilities_are_averaged():
    system, batch = build_multitask(), multitask_batch()
    for network in system.networks:
        enliven(network.head)
    single = build_multitask(1)
    single.networks[0].load_state_dict(system.networks[0].state_dict())
    for module in (system, single):
        sum(module.losses(batch).values()).backward()
    for a, b in zip(system.networks[0].parameters(), single.networks[0].parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    views = torch.stack([network(batch["images"])[0].softmax(-1) for network in system.networks])
    assert not torch.allclose(views[0], views[1], atol=1e-2)
    torch.testing.assert_close(system.predict(batch)["expression"], views.mean(dim=0))


def test_appearance_tells_the_emotion_branch():
    """Both branches share face information: an appearance target moves the emotion branch, and expression the other."""
    network = build_multitask(1).networks[0]
    logits, outputs = network(pictures(4))
    assert all(gradients(outputs["pose"].sum(), network.emotion))
    assert all(gradients(logits.square().sum(), network.appearance))
