"""insightface's SCRFD detectors, run the fast way: one single-threaded session a process, cheap preprocessing.

The network, its decoding and its suppression are insightface's own; the result is the same to the last bit
(`bench/detect_align.py` checks it in the run that measures the speed). Where it finds nothing, the picture is looked at
once more with a margin: a face that fills the picture is larger than any that these networks were trained on.
"""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from insightface.model_zoo.scrfd import SCRFD

from pipeline.core.errors import MienError
from pipeline.faces.detections import Detections
from pipeline.faces.mtcnn import single_thread_session

MARGIN = 0.25  # of each side, on either end
FILLING = 0.25  # of the picture's area: what a face found with a margin must have at least


class FastSCRFD(SCRFD):
    """SCRFD whose input blob is written plane by plane: 0.5 ms at 640x640 where `blobFromImage` takes 3 to 13."""

    def _prepare_input_blob(self, img: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
        blob = np.empty((1, 3, *img.shape[:2]), np.float32)
        for plane, channel in zip(blob[0], cv2.split(img)[::-1], strict=True):
            np.multiply(channel, np.float32(1 / 128), out=plane, dtype=np.float32)
            plane -= np.float32(127.5 / 128)
        return blob


class InsightFace:
    """An SCRFD model file at a fixed square detection size in pixels."""

    def __init__(self, path: Path, detect_pixels: int, score_threshold: float, providers: list[str] | None = None):
        try:
            session = single_thread_session(path, providers)
            self.model = FastSCRFD(str(path), session=session)
        except Exception as error:  # onnxruntime raises its own unrelated types on a bad file
            raise MienError(f"{path}: not a readable SCRFD model ({str(error).splitlines()[0]})") from None
        if not self.model.use_kps:
            raise MienError(f"{path}: this detector gives no landmarks; use a *_kps / *_bnkps SCRFD file")
        self.model.prepare(0, input_size=(detect_pixels, detect_pixels), det_thresh=score_threshold)

    def detect(self, image: np.ndarray) -> Detections:
        """Find the faces of a BGR uint8 image (H, W, 3); where there is none, one that fills it."""
        found = self._found(image)
        return found if len(found) else self._filling(image)

    def _filling(self, image: np.ndarray) -> Detections:
        """Faces that are found in the image with a margin and fill it, in the image's own pixels."""
        height, width = image.shape[:2]
        down, right = (max(1, round(side * MARGIN)) for side in (height, width))
        found = self._found(cv2.copyMakeBorder(image, down, down, right, right, cv2.BORDER_REPLICATE))
        large = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1) >= FILLING * height * width
        corner = np.array([right, down], np.float32)
        boxes, landmarks = found.boxes[large] - np.tile(corner, 2), found.landmarks[large] - corner
        return replace(found, boxes=boxes, scores=found.scores[large], landmarks=landmarks)

    def _found(self, image: np.ndarray) -> Detections:
        boxes, landmarks = self.model.detect(image)
        if not len(boxes):
            return Detections.none()
        return Detections(boxes[:, :4].astype(np.float32), boxes[:, 4].astype(np.float32), landmarks.astype(np.float32))
