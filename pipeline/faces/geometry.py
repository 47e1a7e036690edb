"""What five landmarks tell: insightface's similarity transform to the ArcFace template, and the head's pose."""

import warnings

import cv2
import numpy as np
from insightface.utils.face_align import estimate_norm

# An average face in inter-ocular distances: x to the image's right, y down, z away from the camera. Eyes, nose tip,
# mouth corners, in the detectors' order.
FACE = np.array([[-0.5, -0.45, 0.0], [0.5, -0.45, 0.0], [0.0, 0.15, -0.45], [-0.38, 0.65, -0.05], [0.38, 0.65, -0.05]])


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


def yaw_and_pitch(landmarks: np.ndarray) -> np.ndarray:
    """Radians (N, 2) of landmarks (N, 5, 2): yaw grows as the nose moves to the image's right, pitch as it moves down.

    Scaled orthographic projection (POS; DeMenthon and Davis 1995). NaN landmarks give NaN.
    """
    model = FACE - FACE.mean(axis=0)
    points = landmarks - landmarks.mean(axis=1, keepdims=True)
    axes = np.einsum("kp,npd->ndk", np.linalg.pinv(model), points)  # (N, 2, 3): scaled first rows of the rotation
    unit = axes / np.linalg.norm(axes, axis=2, keepdims=True)
    x, y = -unit[:, 0, 2], -unit[:, 1, 2]  # where the nose's direction (0, 0, -1) points in the image
    towards_camera = np.sqrt((1 - x**2 - y**2).clip(0))
    return np.stack([np.arctan2(x, towards_camera), np.arcsin(y.clip(-1, 1))], axis=1)
