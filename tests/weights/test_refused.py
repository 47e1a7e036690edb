"""Files that are no weights, not whole, or not of the network that their names promise: one line each, none added."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import timm
import torch
from onnx import helper
from safetensors.torch import save_file
from torch import nn

from pipeline.core.errors import MienError
from tests.weights.forms import PublishedDan, ir_tensors, vit


class Foreign:
    def __init__(self) -> None:
        self.value = 1


def cut(path: Path, share: float = 0.5) -> str:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path.name


def torch_file(stored: Any, name: str = "x.pth", **options: Any) -> Path:
    torch.save(stored, name, **options)
    return Path(name)


def written(name: str, data: bytes) -> str:
    Path(name).write_bytes(data)
    return name


def safetensors_file() -> Path:
    save_file(vit().state_dict(), "x.safetensors")
    return Path("x.safetensors")


def onnx_file() -> Path:
    value = helper.make_tensor_value_info("x", 1, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    onnx.save(helper.make_model(graph), "x.onnx")
    return Path("x.onnx")


FILES: dict[str, tuple[Callable[[], str], str]] = {
    "a pickle with a foreign class": (
        lambda: torch_file({"model": vit().state_dict(), "extra": Foreign()}).name,
        r"x\.pth: holds more than tensors: \S*Foreign, which would run as code; whoever trusts the file can save",
    ),
    "a whole pickled network": (
        lambda: torch_file(timm.create_model("test_efficientnet"), "enet.pt").name,
        r"enet\.pt: holds more than tensors: timm\.models\.efficientnet\.EfficientNet",
    ),
    "a foreign class in the old form": (
        lambda: torch_file(Foreign(), _use_new_zipfile_serialization=False).name,
        r"x\.pth: holds more than tensors: \S*Foreign",
    ),
    "a truncated checkpoint": (lambda: cut(torch_file(vit().state_dict())), r"x\.pth: not whole, or not a checkpoint"),
    "a truncated checkpoint of the old form": (
        lambda: cut(torch_file(vit().state_dict(), _use_new_zipfile_serialization=False), 0.9),
        r"x\.pth: not whole, or not a checkpoint",
    ),
    "truncated safetensors": (lambda: cut(safetensors_file()), r"x\.safetensors: not whole, or not safetensors"),
    "truncated ONNX": (lambda: cut(onnx_file()), r"x\.onnx: not whole, or not ONNX"),
    "a web page": (
        lambda: written("x.pth", b"\n<!DOCTYPE html><html><body>Sign in to download</body></html>"),
        r"x\.pth: a web page, not weights; open the link in a browser",
    ),
    "a pointer": (
        lambda: written("x.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
        r"x\.pth: a pointer of Git LFS, not weights",
    ),
    "an empty file": (lambda: written("x.pth", b""), r"x\.pth: empty; fetch it again"),
    "garbage": (lambda: written("x.pth", b"garbage, however long"), r"x\.pth: not whole, or not a checkpoint"),
    "no file": (lambda: "x.pth", r"x\.pth: No such file or directory"),
    "another form": (lambda: written("x.pkl", b"\x80\x04."), r"x\.pkl: not a form of weights that is read here"),
    "no mapping": (lambda: torch_file([torch.ones(2)]).name, r"x\.pth: holds a list, not tensors by name"),
    "no tensors": (lambda: torch_file({"epoch": 3, "model": {}}).name, r"x\.pth: holds no tensors"),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_weights(add, kind):
    make, reason = FILES[kind]
    refused(add, make(), reason)


def refused(add: Callable[..., Path], file: str, reason: str, *options: str, there: Sequence[Path] = ()) -> None:
    """One line says why, and nothing is written beside what was `there`."""
    before = Path("weights.yaml").read_bytes()
    with pytest.raises(MienError, match=reason) as caught:
        add(None, *(options or ("--heads", "2")), file=file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert list(Path("weights").iterdir() if Path("weights").exists() else ()) == list(there)
    assert Path("weights.yaml").read_bytes() == before


def changed(network: nn.Module | dict[str, torch.Tensor], **changes: Any) -> str:
    """A state dict with tensors replaced, added, or (None) left out; `__` stands for a dot."""
    tensors = dict(network.state_dict() if isinstance(network, nn.Module) else network)
    tensors |= {name.replace("__", "."): value for name, value in changes.items()}
    return torch_file({name: tensor for name, tensor in tensors.items() if tensor is not None}).name


def infinite(name: str, value: float) -> str:
    tensors = vit().state_dict()
    tensors[name][0] = value
    return torch_file(tensors).name


NETWORKS: dict[str, tuple[Callable[[], str], str]] = {
    "NaN": (
        lambda: infinite("blocks.1.attn.qkv.weight", float("nan")),
        r"x\.pth: blocks\.1\.attn\.qkv\.weight holds numbers that are not finite",
    ),
    "infinity": (lambda: infinite("norm.bias", float("inf")), r"x\.pth: norm\.bias holds numbers that are not finite"),
    "a tensor of another shape": (
        lambda: changed(vit(), blocks__1__mlp__fc1__weight=torch.ones(64, 15)),
        r"x\.pth: not the weights of vit: size mismatch for blocks\.1\.mlp\.fc1\.weight",
    ),
    "a tensor that is missing": (
        lambda: changed(vit(), blocks__1__mlp__fc1__weight=None),
        r"x\.pth: not the weights of vit: blocks\.1\.mlp\.fc1\.weight and 0 more are missing",
    ),
    "a part that ours does not have": (
        lambda: changed(vit(), blocks__0__attn__q_norm__weight=torch.ones(8)),
        r"x\.pth: blocks\.0\.attn\.q_norm\.weight has no place in a vit, whose output would be another",
    ),
    "positions of no raster": (
        lambda: changed(vit(), pos_embed=torch.ones(1, 19, 16)),
        r"x\.pth: pos_embed has 19 places, no square raster beside 1 other tokens; name the network",
    ),
    "a CLIP": (
        lambda: changed(vit(), norm_pre__weight=torch.ones(16), norm_pre__bias=torch.ones(16)),
        r"x\.pth: a ViT with a norm before its blocks; name the network with --architecture",
    ),
    "patches of video": (
        lambda: changed(vit(), patch_embed__proj__weight=torch.ones(16, 3, 2, 8, 8)),
        r"x\.pth: its names are those of a network known here, its shapes are not",
    ),
    "an IR-SE": (
        lambda: changed(ir_tensors([8, 16], [1, 1]), body__0__res_layer__5__fc1__weight=torch.ones(2, 8, 1, 1)),
        r"x\.pth: body\.0\.res_layer\.5\.fc1\.weight has no place in a face_resnet",
    ),
    "half a DAN": (
        lambda: changed(PublishedDan((8, 8, 16, 32), 2, 8), cat_head1__sa__conv1x1__0__weight=None),
        r"x\.pth: not the weights of dan: net\.heads\.1\.reduce\.0\.weight and 0 more are missing",
    ),
    "unknown names": (
        lambda: changed(nn.Linear(2, 3)),
        r"x\.pth: no network known here: 2 tensors, weight, bias first; if timm has it, name it with --architecture",
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_that_are_not_what_their_names_promise(add, kind):
    make, reason = NETWORKS[kind]
    refused(add, make(), reason)


def test_a_network_that_is_not_the_named_one(add):
    refused(
        add,
        torch_file(vit().state_dict()).name,
        r"x\.pth: no test_resnet: \d+ tensors, cls_token, pos_embed, patch_embed\.proj\.weight first$",
        *("--architecture", "test_resnet"),
    )
