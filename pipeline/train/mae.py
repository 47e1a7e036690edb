"""MAE pretraining: which crops, which batches, and the pictures that show what was learnt."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from pydantic import Field, model_validator

from models.mae import MAE
from models.vit import build_vit
from pipeline.backbones.device import device
from pipeline.backbones.encoder import Vit
from pipeline.core.files import atomic_write_bytes
from pipeline.core.graph import dataset_of
from pipeline.core.params import Section
from pipeline.core.paths import EXTERNAL
from pipeline.faces.crops import Crops
from pipeline.tables.pretraining import training_videos
from pipeline.train.optimiser import Optimise
from pipeline.train.randomness import seed_step
from pipeline.train.speed import Speed
from pipeline.train.views import Augment

PICTURES = 8


class PretrainMae(Section):
    """Masked autoencoder pretraining (He et al. 2022, arXiv 2111.06377).

    `start` is a file of weights, declared in weights.yaml, that the encoder starts from: a champion's.
    """

    seed: int
    mask_ratio: float = Field(gt=0, lt=1)
    decoder_width: int = Field(ge=4, multiple_of=4)
    decoder_depth: int = Field(ge=1)
    decoder_heads: int = Field(ge=1)
    checkpoint_seconds: float = Field(gt=0)
    speed: Speed = Field(default_factory=Speed)
    augment: Augment
    optimise: Optimise
    start: str | None = None

    @model_validator(mode="after")
    def _divides(self) -> "PretrainMae":
        if self.decoder_width % self.decoder_heads:
            raise ValueError("decoder_width must be a multiple of decoder_heads")
        return self


def build_mae(vit: Vit, params: PretrainMae) -> MAE:
    """A fresh MAE, its weights drawn from the seed."""
    seed_step(params.seed, -1 % 2**32)
    encoder = build_vit(**vit.model_dump())
    return MAE(encoder, params.decoder_width, params.decoder_depth, params.decoder_heads, params.mask_ratio)


class Pool:
    """Training crops of several folders of faces behind one index; of an external set all."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.parts: list[tuple[Crops, np.ndarray]] = []
        for folder in folders:
            crops = Crops(folder.name, folder.parent)
            videos = None if folder.is_relative_to(EXTERNAL) else training_videos(dataset_of(folder))
            self.parts.append((crops, np.arange(len(crops)) if videos is None else crops.of_videos(videos)))
        self.ends = np.cumsum([len(rows) for _, rows in self.parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def images(self, indices: np.ndarray, pixels: int) -> np.ndarray:
        """uint8 (N, 3, pixels, pixels), in the order of the indices."""
        # Index i belongs to the first part that ends behind it; each part decodes its own crops, which then take the
        # places that their indices have in the batch.
        out = np.empty((len(indices), 3, pixels, pixels), np.uint8)
        owner = np.searchsorted(self.ends, indices, side="right")
        for number, (crops, rows) in enumerate(self.parts):
            mine = np.flatnonzero(owner == number)
            if len(mine):
                start = self.ends[number] - len(rows)
                out[mine] = crops.images(rows[indices[mine] - start], pixels)
        return out


@lru_cache(2)
def _order(size: int, seed: int, number: int) -> np.ndarray:
    """The order of the crops in one pass, drawn once for all its steps."""
    return np.random.default_rng([seed, number]).permutation(size)


def epoch_indices(size: int, batch: int, seed: int, step: int) -> np.ndarray:
    """The batch of a step when crops are shuffled anew each pass and no crop waits for another pass."""
    first = step * batch
    passes = range(first // size, (first + batch - 1) // size + 1)
    parts = [_order(size, seed, n)[max(first - n * size, 0) : first + batch - n * size] for n in passes]
    return np.concatenate(parts)


def write_pictures(path: Path, mae: MAE, images: np.ndarray, seed: int) -> None:
    """A PNG of rows: crop, what the encoder saw, what the decoder made of it."""
    seed_step(seed, 0)
    original = torch.from_numpy(images).to(device())
    seen, restored = mae.eval().reconstruct(original)
    strips = [torch.cat(list(x), dim=2).permute(1, 2, 0).cpu().numpy() for x in (original, seen, restored)]
    _, png = cv2.imencode(".png", np.concatenate(strips)[..., ::-1])
    atomic_write_bytes(path, png.tobytes())
