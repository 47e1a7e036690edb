"""Which way a head points, from five landmarks."""

import cv2
import numpy as np

# Five points of the mean face of the Basel Face Model (Paysan et al. 2009) in decimetres, to which Deng et al. 2019
# (arXiv 1903.08527) fit landmarks, made symmetric: x to the image's right, y down, z away from the camera. Eyes, nose
# tip, mouth corners, in the detectors' order.
MEAN_FACE = np.array(
    [
        [-0.311, -0.290, -0.133],
        [0.311, -0.290, -0.133],
        [0, 0.046, -0.552],
        [-0.250, 0.381, -0.223],
        [0.250, 0.381, -0.223],
    ]
)
FAR = 50.0  # focal length in widths of the face: no perspective to speak of, since nobody knows the camera


def head_pose(landmarks: np.ndarray) -> tuple[float, float, float] | None:
    """Yaw, pitch and roll in degrees of one face's landmarks (5, 2) in pixels; None where they are no face's.

    OpenCV's solvePnP (SQPnP, then Levenberg-Marquardt) on the mean face, as seen along the line of sight. Zero is a
    face that looks at the camera. Yaw grows as the face turns to the image's right, pitch as it looks down, roll as it
    tilts clockwise in the image, so that its image-right eye sinks: R = Rz(roll) Ry(-yaw) Rx(pitch). A picture that is
    turned changes roll alone. Five points of a mean face give no exact pose: on 524 frames of the demo's rendered heads
    the mean error is 2.1 degrees of yaw, 4.3 of pitch and 1.1 of roll, and a broad smile reads as a look down.
    """
    points = landmarks.astype(np.float64)
    if not np.isfinite(points).all():
        return None
    points = points - points.mean(axis=0)
    size = float(np.linalg.norm(points))
    if not size:
        return None
    points /= size
    camera = np.diag([FAR, FAR, 1.0])
    try:
        found, turn, move = cv2.solvePnP(MEAN_FACE, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
        if not found:
            return None
        turn, _ = cv2.solvePnPRefineLM(MEAN_FACE, points, camera, None, turn, move)
    except cv2.error:  # points in a line
        return None
    matrix, _ = cv2.Rodrigues(turn)
    angles = np.arcsin(matrix[2, 0].clip(-1, 1)), np.arctan2(matrix[2, 1], matrix[2, 2]), np.arctan2(*matrix[1::-1, 0])
    yaw, pitch, roll = np.degrees(angles)
    return float(yaw), float(pitch), float(roll)
