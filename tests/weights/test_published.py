"""What names and shapes tell of a published network, at its published size: shapes alone, no numbers."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from models.dan import Dan
from models.face_resnet import IRStem
from models.vit import build_vit
from pipeline.backbones.build import BackboneSettings
from pipeline.core.errors import MienError
from pipeline.weights.published import EFFICIENTNETS, RESNETS, recognise


def found(network: torch.nn.Module) -> Any:
    known = recognise(network.state_dict())
    assert known is not None
    return known


@pytest.fixture(autouse=True)
def shapes_alone():
    with torch.device("meta"):
        yield


@pytest.mark.parametrize("name", [name for name, _ in EFFICIENTNETS.values()] + list(RESNETS.values()))
def test_timms_convolutional_networks(name):
    assert found(timm.create_model(name)).architecture.network == name


@pytest.mark.parametrize(("name", "pixels"), [("tf_efficientnet_b0", 224), ("tf_efficientnet_b2", 260)])
def test_emotieffnet_sees_its_own_size(name, pixels):
    network: Any = timm.create_model(name)
    assert found(network).normalisation.pixels == pixels == network.default_cfg["input_size"][-1]


@pytest.mark.parametrize(
    ("name", "heads"),
    [("vit_base_patch16_224", 12), ("vit_large_patch16_224", 16), ("vit_huge_patch14_224", 16)],
)
def test_vits_of_mae(name, heads):
    network: Any = timm.create_model(name)
    sizes = found(network).architecture.sizes
    assert (sizes["heads"], network.blocks[0].attn.num_heads) == (heads, heads)
    own = build_vit(**sizes).state_dict()
    assert {n: t.shape for n, t in own.items()} == {n: t.shape for n, t in network.state_dict().items() if n in own}


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_so400m_patch14_siglip_224", "vit_giant_patch14_224"])
def test_heads_are_those_of_timm(name):
    network: Any = timm.create_model(name)
    tensors = {"cls_token": torch.ones(1, 1, network.embed_dim), **network.state_dict()}
    known = recognise(tensors)
    assert known and known.architecture.sizes["heads"] == network.blocks[0].attn.num_heads


def test_a_width_that_tells_no_heads_is_asked_about():
    with pytest.raises(MienError, match="no shape tells how many heads a ViT of width 100 has; say it with --heads"):
        recognise(build_vit(32, 8, 100, 1, 2).state_dict())


def test_dinov2_at_its_published_size():
    network: Any = timm.create_model("vit_small_patch14_reg4_dinov2")
    sizes = found(network).architecture.sizes
    assert sizes == {
        "image_pixels": 518,
        "patch_pixels": 14,
        "width": 384,
        "depth": 12,
        "heads": 6,
        "registers": 4,
        "layer_scale": True,
        "class_position": False,
    }


def test_ir50_is_what_params_call_face_resnet():
    settings = BackboneSettings(name="face_resnet")
    known = found(IRStem(settings.channels, settings.units))
    assert known.architecture.sizes == {"channels": settings.channels, "units": settings.units}
    assert (known.normalisation.mean, known.normalisation.std, known.normalisation.pixels) == (
        [0.5] * 3,
        [0.5] * 3,
        112,
    )


def test_dan_is_not_mistaken_for_a_resnet():
    tensors: dict[str, Tensor] = Dan(
        image_pixels=224, channels=[64, 128, 256, 512], layers=[2] * 4, attention_heads=4, classes=8, label_smoothing=0
    ).state_dict()
    assert recognise(tensors) is None  # our own names are no published ones
