"""Every system's groups of parameters: layer decay, constant rates, weight decay."""

import itertools
from typing import Any, cast

import pytest
import torch
from timm.models import group_parameters

from models.backbone import face_backbone, timm_backbone, vit_backbone
from models.emma import Emma
from models.feedback import Feedback
from models.multitask import Multitask
from models.system import System
from models.vit_heads import VitHeads
from pipeline.train.optimiser import Optimise, layer_scales, make_optimiser, set_learning_rate
from tests.zoo import BUILDERS, VIT, build_au_cvt, build_emma

OPTIMISE = Optimise(
    batch=256,
    steps=10,
    warmup_steps=0,
    base_learning_rate=0.1,
    min_learning_rate=0.0,
    weight_decay=0.05,
    layer_decay=0.5,
    clip_norm=1.0,
    ema_decay=0.0,
)
HEADS: dict[str, Any] = {"aus": False, "va": False, "label_smoothing": 0.0, "pseudo_weight": 1.0}
BLOCK = [
    f"{layer}.{kind}"
    for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    for kind in ("weight", "bias")
]
PREFIXES = {
    "vit": ["backbone.network.encoder."],
    "emma": ["encoder."],
    "cotex": ["views.0.encoder.", "views.1.encoder."],
    "feedback": ["teacher.backbone.network.encoder.", "student.backbone.network.encoder."],
    "dtm": ["backbone.network.encoder."],
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def settings_of(system: System, key: str) -> dict[str, Any]:
    """A setting of each trained parameter's group, by the parameter's name."""
    optimizer = make_optimiser(system, OPTIMISE)
    names = {id(p): name for name, p in system.named_parameters()}
    found = [(names[id(p)], group.get(key)) for group in optimizer.param_groups for p in group["params"]]
    assert len(found) == len(dict(found)) == sum(p.requires_grad for p in system.parameters())
    return dict(found)


@pytest.mark.parametrize("name", PREFIXES)
def test_layer_decay_falls_from_the_heads_to_the_embedding(name):
    system = BUILDERS[name]()
    scale, decay = settings_of(system, "lr_scale"), settings_of(system, "weight_decay")
    for prefix in PREFIXES[name]:
        for stem in ("cls_token", "pos_embed", "patch_embed.proj.weight"):
            assert scale[prefix + stem] == 0.125
        assert [scale[f"{prefix}blocks.{number}.attn.qkv.weight"] for number in range(2)] == [0.25, 0.5]
        assert scale[f"{prefix}norm.weight"] == 0.5
        assert [decay[prefix + n] for n in ("cls_token", "pos_embed", "norm.weight")] == [0, 0, 0]
        assert decay[f"{prefix}patch_embed.proj.weight"] == 0.05
    heads = {n for n in scale if not any(n.startswith(prefix) for prefix in PREFIXES[name])}
    constant = {n for n in heads if n.startswith("va_head")}
    assert heads - constant and all(scale[n] == 1 for n in heads - constant)
    assert bool(constant) == (name == "emma")


def test_each_network_of_an_ensemble_decays_from_its_own_last_layer():
    """A ViT of two blocks, one of five, a timm ResNet of four stages, and a face ResNet, which is one layer."""
    backbones = [vit_backbone(VIT, 2), vit_backbone(VIT | {"depth": 5}, 0), timm_backbone("test_resnet", 16)]
    backbones.append(face_backbone([4, 8], [1, 2], 2, 16))
    system = Multitask(backbones, width=8, classes=6, appearance_weights={"pose": 1.0})
    scale, decay = settings_of(system, "lr_scale"), settings_of(system, "weight_decay")
    assert {s for n, s in scale.items() if ".backbone." not in n} == {1}
    for number, depth in enumerate((2, 5)):
        encoder = f"networks.{number}.backbone.network.encoder"
        blocks = [scale[f"{encoder}.blocks.{block}.mlp.fc1.weight"] for block in range(depth)]
        assert blocks == [0.5 ** (depth - block) for block in range(depth)]
        assert scale[f"{encoder}.norm.weight"] == 0.5 and scale[f"{encoder}.pos_embed"] == 0.5 ** (depth + 1)
        assert decay[f"{encoder}.pos_embed"] == 0
    resnet = "networks.2.backbone.network"
    stages = [scale[f"{resnet}.layer{stage}.0.conv1.weight"] for stage in (1, 2, 3, 4)]
    assert stages == sorted(stages) and stages[-1] == 0.5 and scale[f"{resnet}.conv1.0.weight"] < stages[0] < stages[1]
    assert {s for n, s in scale.items() if n.startswith("networks.3.backbone")} == {0.5}


def test_rates_of_a_vit_b_like_network():
    """Twelve blocks at .65 (MAE's fine-tuning): from .65 ** 13, about .0037, for the embedding to 1 for the heads."""
    system = VitHeads(vit_backbone(VIT | {"depth": 12}, 1), expressions=8, **HEADS)
    scales = layer_scales(system, 0.65)
    encoder = "backbone.network.encoder."
    expected = dict.fromkeys(("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"), 0.65**13)
    for block, name in itertools.product(range(12), BLOCK):
        expected[f"blocks.{block}.{name}"] = 0.65 ** (12 - block)
    expected |= {"norm.weight": 0.65, "norm.bias": 0.65}
    heads = {n: 1.0 for n in ("norm.weight", "norm.bias", "heads.expression.weight", "heads.expression.bias")}
    assert scales == pytest.approx({encoder + name: scale for name, scale in expected.items()} | heads)
    assert min(scales.values()) == pytest.approx(0.0037, abs=5e-5)


@pytest.mark.parametrize("name", ["dan", "au_cvt", "temporal"])
def test_systems_without_pretrained_layers_move_at_one_rate(name):
    assert set(settings_of(BUILDERS[name](), "lr_scale").values()) == {1}
    assert name != "au_cvt" or settings_of(build_au_cvt(), "weight_decay")["pos_embed"] == 0


def test_timm_networks_decay_as_their_own_matcher_says():
    """Both networks of the feedback system, and a ViT of timm's under `vit`, against timm's own groups."""
    settings: dict[str, Any] = {"temperature": 1.0, "unsupervised_weight": 1.0, "ramp_steps": 10, "head_start_steps": 0}
    settings |= {"classes": 8, "feedback": True, "labelled_steps": 0, "total_steps": 10}
    for system in (
        Feedback(timm_backbone("test_resnet"), timm_backbone("test_resnet"), **settings),
        VitHeads(timm_backbone("test_vit", 32), expressions=8, **HEADS),
    ):
        scale = settings_of(system, "lr_scale")
        for name in system.backbones():
            network: Any = system.get_submodule(name)
            layers = group_parameters(network, network.group_matcher(), reverse=True)
            top = max(layers.values()) + 1
            assert top > 4
            assert {n: scale[f"{name}.{n}"] for n in layers} == {n: 0.5 ** (top - i) for n, i in layers.items()}
        assert {s for n, s in scale.items() if "backbone." not in n} == {1}


def test_positions_of_a_timm_backbone_are_not_decayed():
    system = VitHeads(timm_backbone("test_vit", 32), expressions=8, **HEADS)
    assert settings_of(system, "weight_decay")["backbone.network.pos_embed"] == 0


@pytest.mark.parametrize("layer_decay", [0.5, 1.0])
def test_the_valence_head_of_emma_has_a_rate_of_its_own(layer_decay):
    system = build_emma()
    optimizer = make_optimiser(system, OPTIMISE.model_copy(update={"layer_decay": layer_decay}))
    own = list(system.va_head.parameters())
    (group,) = [group for group in optimizer.param_groups if any(p is own[0] for p in group["params"])]
    assert [id(p) for p in group["params"]] == [id(p) for p in own]
    assert (group["weight_decay"], group["betas"]) == (0.0, (0.9, 0.999))
    for rate in (0.1, 0.003):
        set_learning_rate(optimizer, rate)
        assert group["lr"] == 1e-2
        assert max(g["lr"] for g in optimizer.param_groups if g is not group) == rate


def test_a_constant_rate_takes_no_part_in_weight_decay():
    system = cast(Emma, build_emma())
    optimizer = make_optimiser(system, OPTIMISE)
    before = {name: p.clone() for name, p in system.named_parameters() if p.requires_grad}
    for parameter in system.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    after = dict(system.named_parameters())
    moved = {name for name, start in before.items() if not torch.equal(start, after[name])}
    assert "head.0.weight" in moved and not any(name.startswith("va_head") for name in moved)
