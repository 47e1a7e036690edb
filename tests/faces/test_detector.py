"""Detectors: declared, there, and readable."""

from pathlib import Path

import pytest

from pipeline.core.errors import MienError
from pipeline.core.weights import declared, verify
from pipeline.faces.detector import detector_files, load_detector, verified_digest
from pipeline.faces.mtcnn import onnx_files
from pipeline.settings import load_params


@pytest.fixture
def file(workspace) -> Path:
    path = workspace / "net.onnx"
    path.write_bytes(b"weights")
    return path


def test_installed_detector_is_the_declared_one(workspace):
    assert set(onnx_files()) == {"pnet", "rnet", "onet"}
    params = load_params().detect_align
    assert verified_digest(params) == "+".join(declared()[name].sha256 for name in sorted(detector_files(params)))


def test_shared_detectors_are_declared(workspace, shared):
    files = sorted((shared / "models").glob("*.onnx"))
    assert files
    for path in files:
        assert verify(path.name, path)


def test_detector_file_that_is_not_there(workspace):
    params = load_params().detect_align.model_copy(update={"detector": "insightface:nowhere/scrfd.onnx"})
    with pytest.raises(MienError, match=r"detect_align\.detector: nowhere/scrfd\.onnx is not a file"):
        detector_files(params)


def test_detector_file_that_is_no_network(file):
    params = load_params().detect_align.model_copy(update={"detector": f"insightface:{file}"})
    with pytest.raises(MienError, match=r"net\.onnx: not a readable SCRFD model") as caught:
        load_detector(params)
    assert "\n" not in str(caught.value)
