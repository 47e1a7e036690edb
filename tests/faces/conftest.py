"""A face, and the default detector."""

import numpy as np
import pytest
import skimage.data

from pipeline.faces.detector import DetectAlign
from pipeline.faces.mtcnn import MTCNN
from pipeline.settings import load_params


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    """One face of 87x114 pixels, BGR (256, 256, 3)."""
    return np.ascontiguousarray(skimage.data.astronaut()[:256, 100:356, ::-1])


@pytest.fixture(scope="module")
def params(root) -> DetectAlign:
    fixed = {"detector": "mtcnn", "min_face_pixels": 40, "crop_pixels": 112, "jpeg_quality": 95, "max_gap_frames": 15}
    return load_params(root / "params.yaml").detect_align.model_copy(update=fixed)


@pytest.fixture(scope="module")
def mtcnn() -> MTCNN:
    return MTCNN(40)
