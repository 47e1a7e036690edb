"""What every face detector returns, and the protocol it follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Detections:
    """Faces found in one image, in pixels of that image.

    boxes (N, 4) float32: x1, y1, x2, y2; scores (N,) float32 in [0, 1]; landmarks (N, 5, 2) float32: image-left eye,
    image-right eye, nose tip, image-left and image-right mouth corner.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def none(cls) -> "Detections":
        """No face."""
        empty = np.zeros
        return cls(empty((0, 4), np.float32), empty(0, np.float32), empty((0, 5, 2), np.float32))

    @classmethod
    def joined(cls, parts: Sequence["Detections"]) -> "Detections":
        """The faces of several looks at one image."""
        boxes, scores = [part.boxes for part in parts], [part.scores for part in parts]
        return cls(np.concatenate(boxes), np.concatenate(scores), np.concatenate([part.landmarks for part in parts]))

    def chosen(self, rows: np.ndarray) -> "Detections":
        """These faces alone: indices, or a mask (N,)."""
        return Detections(self.boxes[rows], self.scores[rows], self.landmarks[rows])


class Detector(Protocol):
    """A face detector: BGR uint8 image (H, W, 3) to `Detections`."""

    def detect(self, image: np.ndarray) -> Detections:
        """Find the faces of one image."""
        ...

    def detect_near(self, image: np.ndarray, box: np.ndarray) -> Detections:
        """Find the face that had this box (4,) in the frame before, and others beside it, for less than `detect`."""
        ...


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box (4,) with each of (N, 4)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    intersection = np.prod(np.clip(high - low, 0, None), axis=1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return intersection / (area + np.prod(box[2:] - box[:2]) - intersection)


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Greedy non-maximum suppression.

    boxes (N, 4), scores (N,): returns the kept indices, best score first. `overlap` is the intersection over union
    above which the weaker box goes.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        intersection = np.prod(np.clip(high - low, 0, None), axis=1)
        order = rest[intersection / (areas[best] + areas[rest] - intersection) <= overlap]
    return np.array(kept, dtype=np.int64)
