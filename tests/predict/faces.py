"""Faces for the tests of prediction."""

import numpy as np

from pipeline.faces.extract import Face
from tests.mini import grey_jpeg


def face_of(level: int) -> Face:
    """A grey crop."""
    return Face(grey_jpeg(level), 1.0, np.zeros(4, np.float32), np.zeros((5, 2), np.float32))
