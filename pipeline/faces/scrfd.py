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
NEAR_PIXELS = 192  # side of what is seen around a followed face, for a ninth of the time of 640
NEAR_WIDTH = 1.5  # of that in the sides of the last box: a face of 128 pixels, with room for a face's pace
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

    @property
    def fixed_pixels(self) -> int | None:
        """Side of the square that the file's graph is fixed at, if it is."""
        return self.model.static_input_size and max(self.model.static_input_size)

    def detect_near(self, image: np.ndarray, box: np.ndarray) -> Detections:
        """Find faces in a square around `box` (4,), seen at `NEAR_PIXELS`; beyond the image its edge goes on."""
        side = max(1.0, float((box[2:] - box[:2]).max()) * NEAR_WIDTH)
        corner, scale = (box[:2] + box[2:]) / 2 - side / 2, NEAR_PIXELS / side
        # insightface's decoding leaves out the half pixel by which a resize moves centres; so do points found here
        half = 0.5 - 0.5 * max(image.shape[:2]) / self.model.input_size[0]
        x, y = (half - corner) * scale
        matrix = np.array([[scale, 0, x], [0, scale, y]])
        seen = cv2.warpAffine(image, matrix, (NEAR_PIXELS, NEAR_PIXELS), borderMode=cv2.BORDER_REPLICATE)
        found = self._found(seen, NEAR_PIXELS)
        boxes, landmarks = found.boxes / scale + np.tile(corner, 2), found.landmarks / scale + corner
        return Detections(boxes.astype(np.float32), found.scores, landmarks.astype(np.float32))

    def _filling(self, image: np.ndarray) -> Detections:
        """Faces that are found in the image with a margin and fill it, in the image's own pixels."""
        height, width = image.shape[:2]
        down, right = (max(1, round(side * MARGIN)) for side in (height, width))
        found = self._found(cv2.copyMakeBorder(image, down, down, right, right, cv2.BORDER_REPLICATE))
        large = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1) >= FILLING * height * width
        corner = np.array([right, down], np.float32)
        boxes, landmarks = found.boxes[large] - np.tile(corner, 2), found.landmarks[large] - corner
        return replace(found, boxes=boxes, scores=found.scores[large], landmarks=landmarks)

    def _found(self, image: np.ndarray, pixels: int | None = None) -> Detections:
        """Faces of an image seen in a square of `pixels`, `detect_pixels` where none are given."""
        boxes, landmarks = self.model.detect(image, pixels and (pixels, pixels))
        if not len(boxes):
            return Detections.none()
        return Detections(boxes[:, :4].astype(np.float32), boxes[:, 4].astype(np.float32), landmarks.astype(np.float32))
