"""Our own encoder on disk."""

import json
from pathlib import Path

import pytest
import torch

from models.vit import build_vit
from pipeline.backbones.encoder import load_into, save_encoder
from pipeline.core.errors import MienError
from pipeline.settings import load_params


def test_encoder_on_disk_knows_its_architecture(workspace):
    vit = load_params().vit.model_copy(update={"image_pixels": 16, "width": 16, "depth": 1, "heads": 2})
    encoder = build_vit(**vit.model_dump())
    save_encoder(Path("mae"), encoder, vit, ["lsd"])
    loaded = build_vit(**vit.model_dump())
    load_into(loaded, vit, Path("mae"))
    assert all(
        torch.equal(a, b) for a, b in zip(encoder.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    assert json.loads(Path("mae/meta.json").read_text())["trained_on"] == ["lsd"]
    with pytest.raises(MienError, match=r"mae: was trained as .*'depth': 1.*asks for.*'depth': 2"):
        load_into(loaded, vit.model_copy(update={"depth": 2}), Path("mae"))
