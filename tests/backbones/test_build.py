"""Backbones by name: their weights, declared or our own, and what does not fit."""

import functools
import re
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from models.backbone import CellReadout, GridReadout
from models.face_resnet import IRStem
from pipeline.backbones.build import BackboneSettings, build_backbone
from pipeline.backbones.features import CachedBackbone, load_backbone
from pipeline.backbones.loading import load_weights
from pipeline.core.errors import MienError
from pipeline.core.params import validated
from pipeline.core.paths import ENCODER
from pipeline.core.tensors import save_tensors
from pipeline.settings import load_params
from tests.mini import declare, weights_of


def saved(tensors: dict[str, Tensor], name: str = "net.safetensors") -> Path:
    save_file(tensors, name)
    return Path(name)


def test_weights_with_a_classifier_too_many_load(workspace):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    load_weights(target, declare(saved(weights_of(source, **{"fc.weight": torch.ones(5, 2)}))), "toy")
    assert torch.equal(source.weight, target.weight) and torch.equal(source.bias, target.bias)


def test_own_weights_need_no_declaration(workspace):
    Path("artifacts").mkdir()
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    load_weights(target, saved(weights_of(source), "artifacts/net.safetensors"), "toy")
    assert torch.equal(source.weight, target.weight)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda: saved(weights_of(nn.Linear(3, 2))), r"weights\.yaml: net\.safetensors is not declared"),
        (lambda: declare(saved(weights_of(nn.Linear(4, 2)))), r"net\.safetensors: .* toy: size mismatch for weight"),
        (
            lambda: declare(saved({"weight": torch.ones(2, 3)})),
            r"net\.safetensors: .* toy: bias and 0 more are missing",
        ),
        (lambda: declare(saved({"x.y": torch.ones(1)})), r"net\.safetensors: .* toy: weight and 1 more are missing"),
        (
            lambda: Path("net.safetensors"),
            r"params\.yaml: net\.safetensors is not a safetensors file; put .* toy there",
        ),
        (
            lambda: declare(saved(weights_of(nn.Linear(3, 2)), "net.pth")),
            r"params\.yaml: net\.pth is not a safetensors",
        ),
    ],
)
def test_weights_that_do_not_fit_are_told(workspace, prepare, reason):
    path = prepare()
    with pytest.raises(MienError, match=reason) as caught:
        load_weights(nn.Linear(3, 2), path, "toy")
    assert "\n" not in str(caught.value)


def test_a_timm_backbone_with_local_weights_is_timm_own(workspace, tiny):
    torch.manual_seed(0)
    network: Any = timm.create_model("resnet10t", num_classes=7).eval()
    path = declare(saved(network.state_dict()))
    settings = BackboneSettings(name="resnet10t", weights=str(path), image_pixels=48)
    backbone = build_backbone(settings, tiny.vit, pretrained=True).eval()
    images = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    mean, std = (torch.tensor(network.default_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        expected = network.forward_head(network.forward_features((images / 255 - mean) / std), pre_logits=True)
        torch.testing.assert_close(backbone(images), expected, atol=1e-4, rtol=1e-4)
    assert (backbone.pixels, backbone.width) == (48, expected.shape[1])
    path.unlink()
    fresh: Any = build_backbone(settings, tiny.vit, pretrained=False).network  # needs no file
    assert not torch.equal(fresh.conv1[0].weight, network.conv1[0].weight)


def test_backbones_that_are_not_to_be_had_are_told(workspace, tiny):
    with pytest.raises(MienError, match=r"params\.yaml: timm knows no model resnet0; "):
        build_backbone(BackboneSettings(name="resnet0"), tiny.vit, pretrained=False)
    cached = CachedBackbone(name="resnet10t", datasets=["lsd"])
    with pytest.raises(MienError, match=r"net\.safetensors is not a safetensors file; put .* resnet10t there"):
        load_backbone(cached, Path("net.safetensors"), tiny.vit)
    with pytest.raises(MienError, match=r"net\.onnx is missing"):
        load_backbone(CachedBackbone(name="onnx", datasets=["lsd"]), Path("net.onnx"), tiny.vit)


def test_our_own_encoder_is_the_pretrained_one(mini, tiny):
    backbone = build_backbone(BackboneSettings(name="encoder", readout_grid=2), tiny.vit, pretrained=True)
    assert isinstance(backbone.network, GridReadout)
    kept = load_file(ENCODER / "encoder.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in backbone.network.encoder.state_dict().items())
    assert backbone.width == 4 * tiny.vit.width


def test_published_names_fill_a_face_resnet(workspace, tiny):
    stem = IRStem([8, 8, 16], [1, 1, 1])
    save_tensors(Path("ir.safetensors"), stem.state_dict())
    settings = BackboneSettings(name="face_resnet", channels=[8, 8, 16], units=[1, 1, 1], image_pixels=32)
    settings = settings.model_copy(update={"weights": str(declare(Path("ir.safetensors")))})
    network = build_backbone(settings, tiny.vit, pretrained=True).network
    assert isinstance(network, CellReadout)
    assert all(torch.equal(tensor, network.stem.state_dict()[name]) for name, tensor in stem.state_dict().items())
    Path("ir.safetensors").write_bytes(b"garbage, however long it is")
    declare(Path("ir.safetensors"))
    with pytest.raises(MienError, match="not a safetensors file"):
        build_backbone(settings, tiny.vit, pretrained=True)


# --- what is given as it was fetched ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"name": "encoder", "weights": "weights/fmae_vit_b.pth"},
            "weights/fmae_vit_b.pth cannot be read as it is; convert it with `mien weights add weights/fmae_vit_b.pth "
            "--name fmae_vit_b --source URL --licence NAME --trained-on DATASET` and name "
            "weights/fmae_vit_b.safetensors instead",
        ),
        (
            {"name": "hf-hub:timm/vit_small_patch14_dinov2"},
            "hf-hub:timm/vit_small_patch14_dinov2 cannot be read as it is; nothing is fetched in a run: download the "
            "file yourself, then `mien weights add FILE --name vit_small_patch14_dinov2 --source URL",
        ),
        ({"weights": "https://example.org/net.safetensors"}, "nothing is fetched in a run"),
        ({}, "name a network, or weights that weights.yaml declares"),
    ],
)
def test_what_was_fetched_is_answered_with_the_command_that_mends_it(settings, reason):
    with pytest.raises(MienError, match=re.escape(reason)) as caught:
        validated(BackboneSettings, settings, "systems.vit.backbone")
    assert str(caught.value).startswith("params.yaml: systems.vit.backbone") and caught.value.exit_code == 2


def test_names_behind_a_prefix_are_answered_with_the_command_that_takes_it_off(workspace, tiny):
    network: Any = timm.create_model("test_resnet", num_classes=0)
    tensors = {f"module.{name}": tensor for name, tensor in weights_of(network).items()}
    path = declare(saved(tensors))
    reason = (
        r"names begin with `module\.`, which `mien weights add net\.safetensors --name net --source URL --licence NAME "
        r"--trained-on DATASET` takes off$"
    )
    with pytest.raises(MienError, match=reason):
        build_backbone(BackboneSettings(name="test_resnet", weights=str(path)), tiny.vit, pretrained=True)


@pytest.mark.parametrize(
    "key", ["systems.emma.cnn.weights", "systems.au_cvt.stem_weights", "systems.dtm.backbone.weights"]
)
def test_every_key_of_params_that_names_weights_answers_so(workspace, key):
    tree = yaml.safe_load(Path("params.yaml").read_text())
    *sections, last = key.split(".")
    functools.reduce(lambda node, name: node[name], sections, tree)[last] = "weights/x.pth"
    Path("params.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(
        MienError, match=rf"params\.yaml: {key}: weights/x\.pth cannot be read as it is; convert it with"
    ):
        load_params()


def test_other_roads_to_weights_answer_the_same(workspace, tiny):
    """A file that is loaded, and one that the graph names for cached features."""
    Path("dan.pth").write_bytes(b"x")
    with pytest.raises(
        MienError, match=r"dan\.pth is not a safetensors file; convert it with `mien weights add dan\.pth"
    ):
        load_weights(nn.Linear(1, 1), Path("dan.pth"), "DAN")
    with pytest.raises(MienError, match="convert it with `mien weights add dan"):
        load_backbone(CachedBackbone(datasets=["lsd"]), Path("dan.pth"), tiny.vit)


def test_a_file_alone_needs_a_declaration_that_says_what_it_is(workspace, tiny):
    path = declare(saved(weights_of(nn.Linear(3, 2))))
    with pytest.raises(MienError, match=r"weights\.yaml: does not say what network net\.safetensors is"):
        build_backbone(BackboneSettings(weights=str(path)), tiny.vit, pretrained=True)


def test_our_own_encoder_at_another_size_is_resampled(mini, tiny):
    whole = build_backbone(BackboneSettings(name="encoder"), tiny.vit, pretrained=True)
    larger = build_backbone(BackboneSettings(name="encoder", image_pixels=48), tiny.vit, pretrained=True)
    first, second = (cast(Any, b.network).encoder.state_dict() for b in (whole, larger))
    assert larger.pixels == 48 and second["pos_embed"].shape == (1, 1 + 36, tiny.vit.width)
    expected = resample_abs_pos_embed(first["pos_embed"], [6, 6])
    assert torch.equal(second["pos_embed"], expected)
    assert all(torch.equal(first[name], second[name]) for name in first if name != "pos_embed")


@pytest.mark.parametrize(
    "architecture",
    [
        "{network: vit, sizes: {width: 16}}",
        "{network: vit, sizes: {image_pixels: 32, patch_pixels: 8, width: 16, depth: 1, heads: 3}}",
        "{network: vit, sizes: {image_pixels: 32, patch_pixels: 8, width: 16, depth: 1, heads: 2, tail: true}}",
        "{network: face_resnet, sizes: {channels: [8, 16], units: [1]}}",
        "{network: face_resnet}",
    ],
)
def test_sizes_that_make_no_network_are_told(workspace, tiny, architecture):
    path = declare(saved(weights_of(nn.Linear(3, 2))))
    text = Path("weights.yaml").read_text().rstrip("}\n")
    Path("weights.yaml").write_text(f"{text}, architecture: {architecture}}}\n")
    with pytest.raises(MienError, match=r"weights\.yaml: sizes of a (vit|face_resnet): ") as caught:
        build_backbone(BackboneSettings(weights=str(path)), tiny.vit, pretrained=False)
    assert "\n" not in str(caught.value)


def test_params_decide_whether_features_are_standardised(mini, tiny):
    settings = BackboneSettings(name="encoder", readout_grid=2)
    plain = build_backbone(settings, tiny.vit, pretrained=True)
    ours = build_backbone(settings.model_copy(update={"standardise": True}), tiny.vit, pretrained=True)
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    features = plain(images)
    expected = (features - features.mean(dim=0)) / (features.var(dim=0, correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(ours(images), expected, atol=1e-3, rtol=1e-3)
    assert {k for k in ours.state_dict() if k.startswith("standardised")} and not plain.standardised.state_dict()
