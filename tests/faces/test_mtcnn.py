"""The default detector."""

import numpy as np
import pytest
from insightface.data import get_image

from pipeline.faces.detections import suppress
from tests.faces.pictures import check_landmarks


def test_mtcnn_finds_the_astronaut(astronaut, mtcnn):
    faces = mtcnn.detect(astronaut)
    assert len(faces) == 1
    check_landmarks(faces)
    assert faces.boxes[0] == pytest.approx([80, 60, 167, 174], abs=10)
    assert (faces.boxes.dtype, faces.scores.dtype, faces.landmarks.dtype) == (np.float32,) * 3


def test_mtcnn_finds_all_faces_of_a_group(mtcnn):
    faces = mtcnn.detect(get_image("t1"))
    assert 5 <= len(faces) <= 6
    check_landmarks(faces)
    assert len(suppress(faces.boxes, faces.scores, 0.1)) == len(faces)  # six people, not one six times


@pytest.mark.parametrize("shape", [(256, 256, 3), (20, 20, 3), (1, 300, 3)])
def test_mtcnn_finds_nothing_in_grey(mtcnn, shape):
    faces = mtcnn.detect(np.full(shape, 128, np.uint8))
    assert len(faces) == 0 and faces.landmarks.shape == (0, 5, 2)
