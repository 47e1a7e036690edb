"""SCRFD detectors, against insightface's own code."""

import numpy as np
import pytest
from insightface.data import get_image

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
