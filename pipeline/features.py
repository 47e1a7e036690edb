"""Frozen features of every crop: fixed-size lists of float16, one shard for each shard of faces."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import torch
from torch import Tensor, nn

from models.feedback import Classifier
from models.vit import freeze
from pipeline.abaw.tracks import EXPRESSIONS
from pipeline.base.params import CachedBackbone, Params
from pipeline.base.shards import FEATURE_ROWS, read_parquet, write_parquet
from pipeline.base.weights import verify
from pipeline.crops import decode_crops
from pipeline.errors import MienError
from pipeline.layout import ENCODER, FEEDBACK
from pipeline.train.backbones import build_backbone, load_weights
from pipeline.train.loop import device

# The backbones that this pipeline trains, and where they lie.
OWN = {"encoder": ENCODER / "encoder.safetensors", "feedback": FEEDBACK / "student.safetensors"}


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

    Normalised as insightface does: not at all where the graph does it itself, else (x - 127.5) / 127.5, and by 128 for
    the network of sex and age.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]
        attributes = self.session.get_outputs()[0].shape[-1] == 3
        deviation = 128.0 if attributes else 127.5
        self.shift, self.scale = (0.0, 1.0) if _normalises_itself(path) else (127.5, 1 / deviation)

    @property
    def pixels(self) -> int:
        """Side of the square that the network sees."""
        return int(self.input.shape[2])

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, P, P) to float (B, D)."""
        values = (images.float().cpu().numpy() - self.shift) * self.scale
        return torch.from_numpy(self.session.run(None, {self.input.name: values.astype(np.float32)})[0])


def _normalises_itself(path: Path) -> bool:
    """insightface's rule: a subtraction and a multiplication among the first eight nodes, or `bn_data` at the front."""
    names = [node.name for node in onnx.load(path).graph.node[:8]]
    subtracts, scales = (any(n.startswith(starts) for n in names) for starts in (("Sub", "_minus"), ("Mul", "_mul")))
    return (subtracts and scales) or "bn_data" in names[:3]


class StudentFeatures(nn.Module):
    """The feedback system's student without its classifier."""

    def __init__(self, student: Classifier) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, P, P) to (B, width)."""
        return self.student.features(images)


def student_extractor(student: Classifier) -> Extractor:
    """The features that the temporal encoder reads."""
    return Extractor(StudentFeatures(student), student.backbone.pixels)


def load_student(params: Params) -> Classifier:
    """The student of `pretrain_feedback`, in evaluation mode."""
    backbone = build_backbone(params.systems.feedback.spatial.backbone, params.vit, pretrained=False)
    student = Classifier(backbone, len(EXPRESSIONS))
    load_weights(student, OWN["feedback"], "the feedback system's student")
    freeze(student)
    return student.to(device())


def weights_of(settings: CachedBackbone) -> Path:
    """The file that a backbone's weights lie in."""
    if settings.name in OWN:
        return OWN[settings.name]
    if not settings.weights:
        raise MienError(
            f"params.yaml: cache_features: {settings.name} needs `weights`, a safetensors or ONNX file declared in "
            "weights.yaml"
        )
    return Path(settings.weights)


def load_backbone(settings: CachedBackbone, params: Params) -> Extractor:
    """The pretrained encoder, the student, an ONNX file, or a timm model with a declared local safetensors file."""
    path = weights_of(settings)
    if settings.name == "feedback":
        return student_extractor(load_student(params))
    if settings.name == "onnx":
        if not path.is_file():
            raise MienError(f"params.yaml: cache_features: {path} is missing; put the ONNX file there")
        verify(path.name, path)
        network = OnnxNetwork(path)
        return Extractor(network, network.pixels)
    backbone = build_backbone(settings, params.vit, pretrained=True)
    freeze(backbone)
    return Extractor(backbone.to(device()), backbone.pixels)


def features_of(extractor: Extractor, jpegs: list[bytes], batch: int) -> np.ndarray:
    """float16 features (N, D) of JPEG crops."""
    parts = []
    for start in range(0, len(jpegs), batch):
        images = torch.from_numpy(decode_crops(jpegs[start : start + batch], extractor.pixels)).to(device())
        parts.append(extractor(images).half().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float16)


def feature_table(crops: pa.Table, extractor: Extractor, batch: int) -> pa.Table:
    """The columns video, frame and feature of a table of crops (video, frame, jpeg)."""
    values = features_of(extractor, crops["jpeg"].to_pylist(), batch)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    return crops.select(["video", "frame"]).append_column("feature", lists)


def write_features(faces: Path, target: Path, extractor: Extractor, batch: int, provenance: dict[str, str]) -> int:
    """Features of the faces found in one shard, keyed as they are: video, frame, feature. Returns their number."""
    table = read_parquet(faces, ["video", "frame", "found", "jpeg"])
    out = feature_table(table.filter(table["found"]), extractor, batch)
    if not np.isfinite(out["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)).all():
        raise MienError(f"{faces}: features are not finite; the weights do not fit the model, or overflow float16")
    write_parquet(target, out, FEATURE_ROWS, provenance)
    return len(out)
