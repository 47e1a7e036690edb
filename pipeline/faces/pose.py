"""Head pose from five landmarks under scaled orthographic projection (POS; DeMenthon and Davis 1995)."""

import numpy as np

# An average face in inter-ocular distances: x to the image's right, y down, z away from the camera. Eyes, nose tip,
# mouth corners, in the detectors' order.
FACE = np.array([[-0.5, -0.45, 0.0], [0.5, -0.45, 0.0], [0.0, 0.15, -0.45], [-0.38, 0.65, -0.05], [0.38, 0.65, -0.05]])


def yaw_and_pitch(landmarks: np.ndarray) -> np.ndarray:
    """Radians (N, 2) of landmarks (N, 5, 2): yaw grows as the nose moves to the image's right, pitch as it moves down.

    NaN landmarks give NaN.
    """
    model = FACE - FACE.mean(axis=0)
    points = landmarks - landmarks.mean(axis=1, keepdims=True)
    axes = np.einsum("kp,npd->ndk", np.linalg.pinv(model), points)  # (N, 2, 3): scaled first rows of the rotation
    unit = axes / np.linalg.norm(axes, axis=2, keepdims=True)
    x, y = -unit[:, 0, 2], -unit[:, 1, 2]  # where the nose's direction (0, 0, -1) points in the image
    towards_camera = np.sqrt((1 - x**2 - y**2).clip(0))
    return np.stack([np.arctan2(x, towards_camera), np.arcsin(y.clip(-1, 1))], axis=1)
