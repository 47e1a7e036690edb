"""Frozen features of every crop: fixed-size lists of float16, one shard for each shard of faces."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import timm
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from models.vit import MEAN, STD, freeze, grid_pool, normalise
from pipeline.base.params import Backbone, Vit
from pipeline.base.shards import FEATURE_ROWS, read_parquet, write_parquet
from pipeline.base.weights import verify
from pipeline.crops import decode_crops
from pipeline.errors import MienError
from pipeline.train.encoder import load_encoder
from pipeline.train.loop import device


class Extractor(nn.Module):
    """A frozen backbone with its own input size and normalisation."""

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: nn.Module, pixels: int, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.pixels = pixels
        # `normalise` has already taken our own mean and deviation off; what is left to reach the backbone's
        self.register_buffer("shift", (torch.tensor(mean).view(-1, 1, 1) - MEAN) / STD)
        self.register_buffer("scale", torch.tensor(std).view(-1, 1, 1) / STD)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, pixels, pixels) to float32 (B, D)."""
        return self.backbone((normalise(images) - self.shift) / self.scale)


class GridReadout(nn.Module):
    """A ViT read cell by cell (see `grid_pool`)."""

    def __init__(self, encoder: VisionTransformer, grid: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.grid = grid

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, P, P) to (B, grid * grid * width)."""
        return grid_pool(self.encoder, images, self.grid)


def load_backbone(settings: Backbone, vit: Vit) -> Extractor:
    """The pretrained encoder, or a timm model filled from a declared local safetensors file."""
    if settings.name == "encoder":
        encoder = GridReadout(load_encoder(vit), settings.readout_grid)
        return _frozen(Extractor(encoder, vit.image_pixels, [MEAN] * 3, [STD] * 3))
    if not settings.weights:
        raise MienError(
            f"params.yaml: cache_features: {settings.name} needs `weights`, a safetensors file declared in weights.yaml"
        )
    path = Path(settings.weights)
    if not path.is_file() or path.suffix != ".safetensors":
        raise MienError(
            f"params.yaml: cache_features: {path} is not a safetensors file; put the weights of {settings.name} there"
        )
    verify(path.name, path)
    try:
        model = timm.create_model(settings.name, pretrained=False, num_classes=0)
    except RuntimeError:
        raise MienError(f"params.yaml: cache_features: timm knows no model {settings.name}") from None
    missing, _ = model.load_state_dict(load_file(path), strict=False)
    if missing:
        raise MienError(
            f"{path}: not the weights of {settings.name}: {missing[0]} and {len(missing) - 1} more are missing"
        )
    config = timm.data.resolve_data_config(model=model)
    return _frozen(Extractor(model, config["input_size"][-1], list(config["mean"]), list(config["std"])))


def _frozen(extractor: Extractor) -> Extractor:
    freeze(extractor)
    return extractor.to(device())


def features_of(extractor: Extractor, jpegs: list[bytes], batch: int) -> np.ndarray:
    """float16 features (N, D) of JPEG crops."""
    parts = []
    for start in range(0, len(jpegs), batch):
        images = torch.from_numpy(decode_crops(jpegs[start : start + batch], extractor.pixels)).to(device())
        parts.append(extractor(images).half().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float16)


def write_features(faces: Path, target: Path, extractor: Extractor, batch: int, provenance: dict[str, str]) -> int:
    """Features of the faces found in one shard, keyed as they are: video, frame, feature. Returns their number."""
    table = read_parquet(faces, ["video", "frame", "found", "jpeg"])
    table = table.filter(table["found"])
    values = features_of(extractor, table["jpeg"].to_pylist(), batch)
    if not np.isfinite(values).all():
        raise MienError(f"{faces}: features are not finite; the weights do not fit the model, or overflow float16")
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    out = pa.table({"video": table["video"], "frame": table["frame"], "feature": lists})
    write_parquet(target, out, FEATURE_ROWS, provenance)
    return len(out)
