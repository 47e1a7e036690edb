"""Frozen features of every crop: fixed-size lists of float16, one shard for each shard of faces."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from insightface.model_zoo import get_model
from pydantic import Field, model_validator
from torch import Tensor, nn

from models.vit import freeze
from pipeline.abaw.tracks import Dataset
from pipeline.backbones.build import BackboneSettings, build_backbone
from pipeline.backbones.device import device, limit_threads
from pipeline.backbones.encoder import Vit
from pipeline.core.errors import MienError
from pipeline.core.params import Section
from pipeline.core.parquet import FEATURE_ROWS, array_column, write_parquet
from pipeline.core.paths import ARTIFACTS
from pipeline.core.weights import verify
from pipeline.faces.crops import Crops, decode_crops
from pipeline.run.parallel import prefetched

OWN = "feedback"  # this pipeline's student (systems/feedback.py); our own `encoder` is a backbone like others


class CachedBackbone(BackboneSettings):
    """A frozen backbone (also `feedback`, the student of that system, and `onnx`) and the data sets that it reads.

    Its weights are named in `graph.features`.
    """

    datasets: list[Dataset] = Field(min_length=1)

    @model_validator(mode="after")
    def _named(self) -> "CachedBackbone":
        if self.standardise:
            raise ValueError(
                "standardise belongs to a system, which learns the moments; features are cached as they are"
            )
        return self


class CacheFeatures(Section):
    """Frozen features of every crop."""

    batch: int = Field(ge=1)
    backbones: dict[str, CachedBackbone]


class Extractor(nn.Module):
    """A frozen network that gives features, and the size of the crops it wants."""

    def __init__(self, network: nn.Module, pixels: int) -> None:
        super().__init__()
        self.network = network
        self.pixels = pixels

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, pixels, pixels) to float (B, D)."""
        return self.network(images)


class OnnxNetwork(nn.Module):
    """A face network of insightface's: RGB crops to an embedding, or to sex logits (female, male) and age / 100.

    insightface itself tells by the file's form which it is and how its input is normalised; the faces are aligned
    already, so its session is run without its own cutting.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            self.model = get_model(str(path), providers=["CPUExecutionProvider"])
            self.mean, self.deviation = float(self.model.input_mean), float(self.model.input_std)
        except Exception as error:  # whatever onnxruntime met; None, or a detector, has no such attributes
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise MienError(f"{path}: not a recognition or attribute network of insightface's ({first})") from None

    @property
    def pixels(self) -> int:
        """Side of the square that the network sees."""
        return int(self.model.input_size[0])

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, P, P) to float (B, D)."""
        values = (images.float().cpu().numpy() - self.mean) / self.deviation
        return torch.from_numpy(self.model.session.run(None, {self.model.input_name: values.astype(np.float32)})[0])


def load_backbone(settings: CachedBackbone, weights: Path, vit: Vit) -> Extractor:
    """The pretrained encoder, an ONNX file, or a network with a declared local safetensors file."""
    if settings.name == "onnx":
        if not weights.is_file():
            raise MienError(f"params.yaml: graph.features: {weights} is missing; put the ONNX file there")
        verify(weights.name, weights)
        network = OnnxNetwork(weights)
        return Extractor(network, network.pixels)
    own = settings.name == "encoder" and weights.is_relative_to(ARTIFACTS)  # whose place is known
    filled = settings if own else settings.model_copy(update={"weights": weights.as_posix()})
    backbone = build_backbone(filled, vit, pretrained=True)
    freeze(backbone)
    return Extractor(backbone.to(device()), backbone.pixels)


def features_of(extractor: Extractor, jpegs: list[bytes], batch: int) -> np.ndarray:
    """float16 features (N, D) of JPEG crops."""
    starts = range(0, len(jpegs), batch)
    return _features((decode_crops(jpegs[i : i + batch], extractor.pixels) for i in starts), extractor)


def _features(batches: Iterable[np.ndarray], extractor: Extractor) -> np.ndarray:
    """float16 features (N, D) of batches of images (B, 3, P, P); the next batch is decoded meanwhile."""
    limit_threads()
    parts = [extractor(torch.from_numpy(i).to(device())).half().cpu().numpy() for i in prefetched(iter(batches))]
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float16)


def feature_table(crops: Crops, extractor: Extractor, batch: int) -> pa.Table:
    """The columns video, frame and feature of crops."""
    batches = np.split(np.arange(len(crops)), range(batch, len(crops), batch)) if len(crops) else []
    values = _features((crops.images(rows, extractor.pixels) for rows in batches), extractor)
    return crops.table.append_column("feature", array_column(values))


def write_features(faces: Path, target: Path, extractor: Extractor, batch: int, provenance: dict[str, str]) -> int:
    """Features of the faces found in one shard, keyed as they are: video, frame, feature. Returns their number."""
    out = feature_table(Crops(faces.name, faces.parent), extractor, batch)
    if not np.isfinite(out["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)).all():
        raise MienError(f"{faces}: features are not finite; the weights do not fit the model, or overflow float16")
    write_parquet(target, out, FEATURE_ROWS, provenance)
    return len(out)
