"""Our own encoder: the vision transformer that params size, and its pretrained weights on disk."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, model_validator
from safetensors.torch import load_file
from torch import nn

from pipeline.backbones.loading import fill
from pipeline.core.errors import MienError
from pipeline.core.files import write_json
from pipeline.core.params import Section
from pipeline.core.paths import ENCODER
from pipeline.core.tensors import save_tensors


class Vit(Section):
    """The vision transformer that pretraining and the ViT systems share."""

    image_pixels: int = Field(ge=1)
    patch_pixels: int = Field(ge=1)
    width: int = Field(ge=4, multiple_of=4)  # the sine-cosine position embedding has four parts
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)

    @model_validator(mode="after")
    def _divides(self) -> "Vit":
        if self.image_pixels % self.patch_pixels or self.width % self.heads:
            raise ValueError("image_pixels must be a multiple of patch_pixels, and width of heads")
        return self


def save_encoder(folder: Path, encoder: nn.Module, vit: Vit, trained_on: Sequence[str]) -> None:
    """Write `encoder.safetensors` and `meta.json`."""
    save_tensors(folder / "encoder.safetensors", encoder.state_dict())
    meta = {"architecture": vit.model_dump(), "trained_on": list(trained_on), "label_types": []}
    write_json(folder / "meta.json", meta)


def load_into(encoder: nn.Module, vit: Vit, folder: Path = ENCODER) -> None:
    """Fill `encoder` with pretrained weights, resampled where it sees another size of image.

    `vit` must be the architecture that was trained.
    """
    meta = json.loads((folder / "meta.json").read_text())
    if meta["architecture"] != vit.model_dump():
        raise MienError(
            f"{folder}: was trained as {meta['architecture']}, params.yaml asks for {vit.model_dump()}; run `dvc repro`"
        )
    path = folder / "encoder.safetensors"
    fill(encoder, load_file(path), path, "the encoder")
