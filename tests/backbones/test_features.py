"""Frozen networks: ONNX files, and features that are not finite."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import simplejpeg
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError
from torch import Tensor, nn

from pipeline.backbones.features import CachedBackbone, Extractor, features_of, load_backbone, write_features
from pipeline.core.errors import MienError
from pipeline.core.paths import FACES
from tests.mini import declare, grey_jpeg


def write_onnx(path: Path, pixels: int, normalises_itself: bool) -> Path:
    """The mean of each channel of an image; with (x - 10) * 2 before, if it normalises itself."""
    nodes, constants, start = [], [], "image"
    if normalises_itself:
        constants = [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("ten", 10), ("two", 2))]
        nodes = [
            helper.make_node("Sub", ["image", "ten"], ["less"], name="Sub_0"),
            helper.make_node("Mul", ["less", "two"], ["start"], name="Mul_1"),
        ]
        start = "start"
    nodes += [
        helper.make_node("GlobalAveragePool", [start], ["mean"], name="Pool_2"),
        helper.make_node("Flatten", ["mean"], ["feature"], name="Flatten_3"),
    ]
    shapes: dict[str, list[str | int | None]] = {"image": ["N", 3, pixels, pixels], "feature": ["N", 3]}
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(nodes, "mean", sides[:1], sides[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("pixels", "normalises_itself", "shift", "scale"),
    [(96, False, 127.5, 1 / 128), (96, True, 10, 2), (112, False, 127.5, 1 / 127.5), (112, True, 10, 2)],
    ids=["sex and age", "sex and age, by itself", "embedding", "embedding, by itself"],
)
def test_onnx_networks_see_rgb_as_they_were_trained(workspace, tiny, pixels, normalises_itself, shift, scale):
    """insightface tells by the size of the input what a network is for: 96 attributes, 112 an embedding."""
    path = declare(write_onnx(Path("net.onnx"), pixels, normalises_itself))
    cached = CachedBackbone(name="onnx", datasets=["lsd"])
    extractor = load_backbone(cached, path, tiny.vit)
    assert extractor.pixels == pixels
    picture = np.full((16, 16, 3), (50, 100, 200), np.uint8)
    jpegs = [simplejpeg.encode_jpeg(picture, quality=100, colorspace="BGR"), grey_jpeg(255, 16), grey_jpeg(0, 16)]
    found = features_of(extractor, jpegs, batch=2)
    assert found.shape == (3, 3) and found.dtype == np.float16
    assert found[0] == pytest.approx((np.array([200, 100, 50]) - shift) * scale, abs=2 * scale)
    assert found[1:, 0] == pytest.approx([(255 - shift) * scale, -shift * scale], abs=1e-3)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(MienError, match="fetch the declared file again"):
        load_backbone(cached, path, tiny.vit)


def test_other_onnx_files_are_told(workspace, tiny):
    cached = CachedBackbone(name="onnx", datasets=["lsd"])
    with pytest.raises(MienError, match=r"net\.onnx: not a recognition or attribute network of insightface's"):
        load_backbone(cached, declare(write_onnx(Path("net.onnx"), 8, False)), tiny.vit)
    Path("net.onnx").write_bytes(b"garbage")
    with pytest.raises(
        MienError, match=r"net\.onnx: not a recognition or attribute network of insightface's"
    ) as caught:
        load_backbone(cached, declare(Path("net.onnx")), tiny.vit)
    assert "\n" not in str(caught.value)


class Huge(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(2, 3)) * 1e4


def test_features_beyond_float16_are_refused(mini, tmp_path):
    faces = FACES / "lsd/all.parquet"
    with pytest.raises(MienError, match=r"lsd/all\.parquet: features are not finite"):
        write_features(faces, tmp_path / "f.parquet", Extractor(Huge(), 16), 8, {})
    assert not (tmp_path / "f.parquet").exists()


def test_cached_features_are_not_standardised():
    with pytest.raises(ValidationError, match="standardise belongs to a system"):
        CachedBackbone(name="encoder", readout_grid=2, standardise=True, datasets=["lsd"])
