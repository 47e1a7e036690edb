"""SCRFD detectors, against insightface's own code."""

import numpy as np
import pytest
from insightface.data import get_image

from pipeline.core.pictures import decode_image
from tests.faces.pictures import GREY, check_landmarks


@pytest.mark.parametrize("name", ["scrfd_500m_bnkps.onnx", "scrfd_2.5g_bnkps.onnx"])
def test_fast_scrfd_is_insightface_to_the_last_bit(shared, astronaut, name):
    from insightface.model_zoo.scrfd import SCRFD

    from pipeline.faces.mtcnn import single_thread_session
    from pipeline.faces.scrfd import InsightFace

    path = shared / "models" / name
    theirs = SCRFD(str(path), session=single_thread_session(path))
    theirs.prepare(0, input_size=(320, 320), det_thresh=0.5)
    for image in (astronaut, get_image("t1"), GREY):
        boxes, landmarks = theirs.detect(image)
        ours = InsightFace(path, 320, 0.5).detect(image)
        assert len(ours) == len(boxes)
        if len(boxes):
            assert np.array_equal(np.c_[ours.boxes, ours.scores], boxes) and np.array_equal(ours.landmarks, landmarks)
            check_landmarks(ours)
    assert len(theirs.detect(astronaut)[0]) == 1


@pytest.mark.parametrize("name", ["scrfd_500m_bnkps.onnx", "scrfd_2.5g_bnkps.onnx"])
def test_a_face_that_fills_the_picture_is_found_where_it_is(shared, astronaut, mtcnn, name):
    from pipeline.faces.scrfd import InsightFace

    detector = InsightFace(shared / "models" / name, 640, 0.5)
    files = [shared / "inputs" / picture for picture in ("fill90_228.png", "tight_188.png")]
    pictures = [decode_image(file.read_bytes()) for file in files]
    for picture in [*pictures, np.ascontiguousarray(astronaut[60:174, 80:167])]:
        assert not len(detector._found(picture))
        found, theirs = detector.detect(picture), mtcnn.detect(picture)
        assert len(found) == 1
        eye_to_eye = np.linalg.norm(theirs.landmarks[0, 0] - theirs.landmarks[0, 1])
        apart = np.linalg.norm(found.landmarks[0] - theirs.landmarks[0], axis=1)
        assert apart.max() < 0.25 * eye_to_eye, apart
    assert not len(detector.detect(GREY))


def test_a_margin_finds_no_small_face(shared, astronaut, monkeypatch):
    """Only what fills the picture counts as found with a margin: a small face that was passed over stays so."""
    from pipeline.faces.detections import Detections
    from pipeline.faces.scrfd import InsightFace

    detector = InsightFace(shared / "models/scrfd_500m_bnkps.onnx", 320, 0.5)
    found, answers = detector._found, [Detections.none()]
    monkeypatch.setattr(detector, "_found", lambda image: answers.pop() if answers else found(image))
    assert len(found(astronaut)) == 1 and not len(detector.detect(astronaut))
