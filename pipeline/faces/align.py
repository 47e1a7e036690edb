"""Five-point alignment: insightface's similarity transform to the ArcFace template."""

import warnings

import cv2
import numpy as np
from insightface.utils.face_align import estimate_norm


def align(image: np.ndarray, landmarks: np.ndarray, crop_pixels: int) -> np.ndarray:
    """Warp a BGR image (H, W, 3) so that its landmarks (5, 2) meet the template: (crop_pixels, crop_pixels, 3) uint8.

    The same result as `insightface.utils.face_align.norm_crop`, without the deprecation warning its scikit-image call
    prints once a frame.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        matrix = estimate_norm(landmarks.astype(np.float32), crop_pixels)
    return cv2.warpAffine(image, matrix, (crop_pixels, crop_pixels), borderValue=0.0)
