"""Five-point alignment: insightface's similarity transform to the ArcFace template."""

import warnings

import cv2
import numpy as np
from insightface.utils.face_align import estimate_norm


def alignment(landmarks: np.ndarray, crop_pixels: int) -> np.ndarray:
    """The similarity (2, 3) that takes landmarks (5, 2) to the template of a crop.

    The same as `insightface.utils.face_align.estimate_norm`, without the deprecation warning that its scikit-image call
    prints once a frame.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return estimate_norm(landmarks.astype(np.float32), crop_pixels)


def align(image: np.ndarray, landmarks: np.ndarray, crop_pixels: int) -> np.ndarray:
    """Warp a BGR image (H, W, 3) so that its landmarks (5, 2) meet the template: (crop_pixels, crop_pixels, 3) uint8.

    The same result as `insightface.utils.face_align.norm_crop`.
    """
    return cv2.warpAffine(image, alignment(landmarks, crop_pixels), (crop_pixels, crop_pixels), borderValue=0.0)
