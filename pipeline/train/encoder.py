"""The pretrained encoder on disk: safetensors weights and the architecture beside them."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from pipeline.base.params import Vit
from pipeline.errors import MienError
from pipeline.layout import ENCODER
from pipeline.publish import atomic_write_text
from pipeline.train.checkpoint import save_tensors


def save_encoder(folder: Path, encoder: nn.Module, vit: Vit, trained_on: Sequence[str]) -> None:
    """Write `encoder.safetensors` and `meta.json`."""
    save_tensors(folder / "encoder.safetensors", encoder.state_dict())
    meta = {"architecture": vit.model_dump(), "trained_on": list(trained_on), "label_types": []}
    atomic_write_text(folder / "meta.json", json.dumps(meta, indent=1) + "\n")


def load_into(encoder: nn.Module, vit: Vit, folder: Path = ENCODER) -> None:
    """Fill `encoder` with pretrained weights; the architecture must be the one that was trained."""
    meta = json.loads((folder / "meta.json").read_text())
    if meta["architecture"] != vit.model_dump():
        raise MienError(
            f"{folder}: was trained as {meta['architecture']}, params.yaml asks for {vit.model_dump()}; run `dvc repro`"
        )
    encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
