"""External weights: declared by name and sha256, or refused with the mend."""

import hashlib
from pathlib import Path

import pytest

from pipeline.base.params import load_params
from pipeline.base.weights import declared, verify
from pipeline.errors import MienError
from pipeline.faces.detector import detector_files, load_detector, verified_digest
from pipeline.faces.mtcnn import onnx_files

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def declare(name: str, sha256: str) -> None:
    entry = f"{{source: s, sha256: '{sha256}', licence: MIT, trained_on: [x], label_types: [y]}}"
    Path("weights.yaml").write_text(f"{name}: {entry}\n")


@pytest.fixture
def file(workspace) -> Path:
    path = workspace / "net.onnx"
    path.write_bytes(CONTENT)
    return path


def test_declared_file_passes(file):
    declare("net.onnx", SHA256)
    assert verify("net.onnx", file) == SHA256
    assert declared()["net.onnx"].trained_on == ["x"]


def test_changed_file_is_refused(file):
    declare("net.onnx", SHA256)
    file.write_bytes(CONTENT + b"!")
    with pytest.raises(MienError, match="fetch the declared file again") as caught:
        verify("net.onnx", file)
    assert str(file) in str(caught.value) and SHA256 in str(caught.value)


def test_undeclared_file_is_refused_with_what_to_add(file):
    declare("other.onnx", SHA256)
    with pytest.raises(MienError, match=rf"weights\.yaml: net\.onnx is not declared.*sha256: {SHA256}"):
        verify("net.onnx", file)


@pytest.mark.parametrize("text", ["a: [", "net.onnx: {sha256: x}", "net.onnx: 3", "- net.onnx", "net.onnx"])
def test_broken_declarations(workspace, text):
    Path("weights.yaml").write_text(text)
    with pytest.raises(MienError, match=r"weights\.yaml: cannot be read") as caught:
        declared()
    assert "\n" not in str(caught.value)


def test_missing_declarations(workspace):
    Path("weights.yaml").unlink()
    with pytest.raises(MienError, match=r"weights\.yaml: cannot be read"):
        declared()


def test_every_declaration_is_complete(root):
    for name, entry in declared(root / "weights.yaml").items():
        assert len(entry.sha256) == 64 and int(entry.sha256, 16), name
        assert entry.licence and entry.trained_on and entry.label_types, name


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
