"""Head pose from five landmarks: the turned mean face gives its angles back, and pictures have its signs."""

import cv2
import numpy as np
import pytest

from pipeline.faces.mtcnn import MTCNN
from pipeline.predict.pose import MEAN_FACE, head_pose
from tests.landmarks import SWAPPED


def projected(yaw: float, pitch: float, roll: float, scale: float = 70.0) -> np.ndarray:
    """Landmarks (5, 2) of the mean face turned by degrees, seen from far away."""
    (sy, sp, sr), (cy, cp, cr) = (f(np.radians([yaw, pitch, roll])) for f in (np.sin, np.cos))
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])  # by -yaw
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return scale * (MEAN_FACE @ (about_z @ about_y @ about_x).T)[:, :2] + [310, 150]


@pytest.mark.parametrize("angles", [(0, 0, 0), (35, 0, 0), (0, -25, 0), (0, 0, 50), (-60, 20, -170), (20, -30, 95)])
@pytest.mark.parametrize("scale", [5.0, 400.0])
def test_the_turned_mean_face_gives_its_angles_back(angles: tuple[float, float, float], scale: float) -> None:
    assert head_pose(projected(*angles, scale=scale)) == pytest.approx(angles, abs=1.0)  # it is not seen from infinity


def test_the_nose_tells_the_signs():
    looking_right, looking_down = projected(20, 0, 0), projected(0, 20, 0)
    assert looking_right[2, 0] > looking_right[:2, 0].mean() and looking_down[2, 1] > projected(0, 0, 0)[2, 1]
    tilted = projected(0, 0, 20)
    assert tilted[1, 1] > tilted[0, 1]  # the image-right eye sinks


def test_a_real_face_mirrored_and_turned(portrait):
    landmarks = MTCNN(40).detect(portrait).landmarks[0]
    pose = head_pose(landmarks)
    assert pose
    yaw, pitch, roll = pose
    assert abs(yaw) < 20 and abs(pitch) < 25 and abs(roll) < 15  # she looks into the camera
    assert head_pose(landmarks[SWAPPED] * [-1, 1]) == pytest.approx((-yaw, pitch, -roll), abs=0.1)
    turn = cv2.getRotationMatrix2D((128, 128), -30, 1.0)  # clockwise, as OpenCV counts
    assert head_pose(landmarks @ turn[:, :2].T + turn[:, 2]) == pytest.approx((yaw, pitch, roll + 30), abs=0.1)


@pytest.mark.parametrize("landmarks", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.full((5, 2), np.inf)])
def test_no_face_has_no_pose(landmarks):
    assert head_pose(landmarks) is None
