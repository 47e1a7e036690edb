"""A temporal training answers for faces that are not of the release, over the backbone that it was trained on."""

from typing import Any

import numpy as np
import pytest
import torch

from bench.jobs import job_of
from models.vit_heads import VitHeads
from pipeline.backbones.features import features_of
from pipeline.core.errors import MienError
from pipeline.core.paths import SYSTEMS
from pipeline.core.tensors import save_tensors
from pipeline.predict.members import Faces, TemporalMember, load_member
from pipeline.settings import Params
from pipeline.systems import temporal, vit
from pipeline.systems.extractor import trained_extractor
from tests.mini import grey_jpeg
from tests.tiny import tiny_params


@pytest.fixture
def trained(mini, root, tiny: Params) -> tuple[Params, VitHeads, temporal.TemporalEncoder]:
    """A `vit` and a temporal model of VA on disk, with the params that made them."""
    import yaml

    tree = tiny_params(root).model_dump(mode="json")
    (mini / "params.yaml").write_text(yaml.safe_dump(tree))
    torch.manual_seed(0)
    job = job_of("va", tiny)
    settings: Any = tiny.systems
    heads = vit.build(settings["vit"], job)
    save_tensors(SYSTEMS / "va/vit/weights.safetensors", heads.state_dict())
    width = heads.backbone.width
    encoder = temporal.build_encoder(settings["temporal"], width, "va").eval()
    save_tensors(SYSTEMS / "va/temporal/weights.safetensors", encoder.state_dict())
    return tiny, heads.eval(), encoder


def test_features_are_those_of_the_trained_backbone(trained):
    tiny, heads, _ = trained
    extractor = trained_extractor(tiny.cache_features.backbones["vit-va"], SYSTEMS / "va/vit", tiny.vit)
    images = torch.randint(0, 256, (3, 3, extractor.pixels, extractor.pixels), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(extractor(images), heads.backbone(images))


def test_a_video_is_answered_in_windows_and_a_picture_alone(trained):
    tiny, _, encoder = trained
    member = load_member("va", "temporal")
    assert isinstance(member, TemporalMember)
    jpegs, frames = [grey_jpeg(20 * n) for n in range(11)], np.arange(1, 12)
    found = torch.from_numpy(features_of(member.features[0], jpegs, 4)).float()
    every = torch.ones(11, dtype=torch.bool)
    stride = tiny.systems["temporal"].stride_frames
    expected = encoder.predict_video(found, every, stride)["va"].numpy()
    np.testing.assert_allclose(member(Faces(jpegs, frames, 4))["va"], expected, atol=1e-5)
    still = member(Faces(jpegs[:2], np.ones(2, int), 4))["va"]
    np.testing.assert_allclose(still[1], encoder.predict_video(found[1:2], every[:1], 1)["va"][0].numpy(), atol=1e-5)


def test_a_system_without_a_backbone_is_named(trained):
    tiny, _, _ = trained
    with pytest.raises(MienError, match=r"va/temporal/weights\.safetensors: no backbone of its own"):
        trained_extractor(tiny.cache_features.backbones["vit-va"], SYSTEMS / "va/temporal", tiny.vit)
