"""Alignment and head pose."""

import warnings

import numpy as np
import pytest
from insightface.utils.face_align import norm_crop

from pipeline.faces.geometry import FACE, align, yaw_and_pitch
from tests.landmarks import SWAPPED

# --- head pose -------------------------------------------------------------------------------------------------------


def turned_face(yaw: float, pitch: float) -> np.ndarray:
    """Landmarks (5, 2) of the model after a turn by `pitch` and then `yaw`."""
    sine, cosine = np.sin([yaw, pitch]), np.cos([yaw, pitch])
    around_y = np.array([[cosine[0], 0, -sine[0]], [0, 1, 0], [sine[0], 0, cosine[0]]])
    around_x = np.array([[1, 0, 0], [0, cosine[1], -sine[1]], [0, sine[1], cosine[1]]])
    return (FACE @ (around_y @ around_x).T)[:, :2]


@pytest.mark.parametrize("scale", [1.0, 43.0])
@pytest.mark.parametrize("angle", [-1.2, -0.4, 0.0, 0.1, 0.7])
def test_pose_of_the_turned_model(angle, scale):
    to_the_side, down = (turned_face(*angles) * scale + [120, 80] for angles in ((angle, 0), (0, angle)))
    found = yaw_and_pitch(np.stack([to_the_side, down]))
    assert found == pytest.approx(np.array([[angle, 0], [0, angle]]), abs=1e-9)


@pytest.mark.parametrize("angles", [(0.5, -0.3), (0.8, 0.5), (-1.0, 0.4)])
def test_pose_of_a_model_turned_twice(angles):
    assert yaw_and_pitch(turned_face(*angles)[None])[0] == pytest.approx(angles, abs=1e-6)


def test_pose_has_the_signs_of_the_image():
    faces = np.stack([FACE[:, :2]] * 3)
    faces[0, 2, 0] += 0.1  # the nose to the image's right
    faces[1, 2, 1] += 0.1  # the nose down
    found = yaw_and_pitch(faces)
    assert found[0, 0] > 0.1 and found[1, 1] > 0.1 and found[2] == pytest.approx([0, 0], abs=1e-9)
    mirror = faces[0][SWAPPED] * [-1, 1]
    assert yaw_and_pitch(mirror[None])[0] == pytest.approx(found[0] * [-1, 1])


def test_pose_of_unknown_landmarks_is_unknown():
    faces = np.stack([turned_face(0.2, 0.1)] * 2)
    faces[0, 3] = np.nan
    found = yaw_and_pitch(faces)
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


# --- alignment and detection -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", [112, 128, 224])
def test_align_is_insightface_alignment(astronaut, mtcnn, pixels):
    points = mtcnn.detect(astronaut).landmarks[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        expected = norm_crop(astronaut, points, pixels)
    found = align(astronaut, points, pixels)
    assert found.shape == (pixels, pixels, 3) and np.array_equal(found, expected)
