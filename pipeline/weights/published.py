"""The published networks of this field, told by the names and shapes of their tensors, in our names.

Known: ViTs named as timm's (facebookresearch/mae and its descendants FMAE and MAE-Face, pretrained or fine-tuned;
DINOv2; timm's own), IR-50 (face.evoLVe, as AU-CVT's authors use it), DAN, and timm's EfficientNets (EmotiEffNet and
HSEmotion, SSL-DTM's B7) and ResNets, and mini-Xception in Keras' names. Any other timm network must be named. Names are
all that is known of the authors' files; each network was written down anew.
"""

import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import timm
from torch import Tensor

from pipeline.core.errors import MienError
from pipeline.core.weights import Architecture, Normalisation
from pipeline.weights.keras import mini_xception_tensors

IMAGENET: dict[str, Any] = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALVES: dict[str, Any] = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
HEAD_WIDTH = 64  # of every published ViT but these, from SO400M and ViT-H on
HEADS_OF_WIDTH = {1152: 16, 1280: 16, 1408: 16, 1664: 16}
# Width of the last convolution and number of blocks of each EfficientNet, and the side of its pictures: timm's own, but
# 224 for B7, as SSL-DTM trained it. EmotiEffNet's B0 and B2 see 224 and 260.
EFFICIENTNETS = {
    (1280, 16): ("tf_efficientnet_b0", 224),
    (1280, 23): ("tf_efficientnet_b1", 240),
    (1408, 23): ("tf_efficientnet_b2", 260),
    (1536, 26): ("tf_efficientnet_b3", 300),
    (1792, 32): ("tf_efficientnet_b4", 380),
    (2048, 39): ("tf_efficientnet_b5", 456),
    (2304, 45): ("tf_efficientnet_b6", 528),
    (2560, 55): ("tf_efficientnet_b7", 224),
}
RESNETS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
    (True, (3, 8, 36, 3)): "resnet152",
}
# DAN's names and ours (models/dan.py)
DAN_NAMES = (
    (r"features\.0\.", "net.features.conv1."),
    (r"features\.1\.", "net.features.bn1."),
    *((rf"features\.{4 + stage}\.", f"net.features.layer{1 + stage}.") for stage in range(4)),
    (r"cat_head(\d+)\.sa\.conv1x1\.", r"net.heads.\1.reduce."),
    *((rf"cat_head(\d+)\.sa\.conv_{k}\.", rf"net.heads.\1.kernels.{n}.") for n, k in enumerate(("3x3", "1x3", "3x1"))),
    (r"cat_head(\d+)\.ca\.attention\.", r"net.heads.\1.channel."),
    (r"fc\.", "net.head."),
    (r"bn\.", "net.norm."),
)


@dataclass(frozen=True)
class Published:
    """A recognised network: what it is, what it expects to see, and its tensors in the names of our own code."""

    architecture: Architecture
    normalisation: Normalisation
    tensors: dict[str, Tensor]


def recognise(tensors: dict[str, Tensor], heads: int | None = None) -> Published | None:
    """The published network whose names these are; None where they are no network known here.

    `heads` are a ViT's, which no shape tells; 64 of its width each, where left out. Raises `MienError` for a network
    that is known and of a kind that is not.
    """
    kinds: tuple[Callable[[dict[str, Tensor]], Published | None], ...] = (
        *(_face_resnet, _dan, _efficientnet, _resnet, _mini_xception),
    )
    if {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "pos_embed", "cls_token"} <= set(tensors):
        return _vit(tensors, heads)
    return next((found for kind in kinds if (found := kind(tensors)) is not None), None)


def by_name(name: str) -> Callable[[dict[str, Tensor]], Published | None]:
    """A reader of one timm network: names brought into timm's by timm's own filter, None where most are missing.

    Raises `MienError` for a name that timm does not know.
    """
    if not timm.is_model(name):
        raise MienError(f"--architecture: timm knows no model {name}", exit_code=2)
    network: Any = timm.create_model(name, pretrained=False, num_classes=0)
    wanted = set(network.state_dict())
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    config = timm.data.resolve_data_config(model=network)
    seen = {"mean": list(config["mean"]), "std": list(config["std"]), "pixels": config["input_size"][-1]}

    def read(tensors: dict[str, Tensor]) -> Published | None:
        if convert is not None and not wanted <= set(tensors):
            tensors = convert(dict(tensors), network)
        if len(wanted & set(tensors)) <= len(wanted) / 2:
            return None
        return Published(Architecture(network=name), Normalisation(**seen), tensors)

    return read


def _numbers(tensors: dict[str, Tensor], pattern: str) -> list[int]:
    """The different numbers that a pattern finds in names, in order."""
    return sorted({int(match[1]) for name in tensors if (match := re.match(pattern, name))})


def _vit(tensors: dict[str, Tensor], heads: int | None) -> Published:
    width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
    if "register_tokens" in tensors:  # DINOv2: the class token brings its position, registers have none (as in timm)
        position = tensors["pos_embed"]
        tensors = tensors | {
            "reg_token": tensors["register_tokens"],
            "cls_token": tensors["cls_token"] + position[:, :1],
            "pos_embed": position[:, 1:],
        }
    registers = tensors["reg_token"].shape[1] if "reg_token" in tensors else 0
    places = tensors["pos_embed"].shape[1]
    own = next((n for n in ((0, 1 + registers) if registers else (1, 0)) if _is_square(places - n)), None)
    if own is None:
        raise MienError(
            f"pos_embed has {places} places, no square raster beside {1 + registers} other tokens; name the network "
            "with --architecture"
        )
    heads = heads or HEADS_OF_WIDTH.get(width) or (0 if width % HEAD_WIDTH else width // HEAD_WIDTH)
    if heads < 1 or width % heads:
        raise MienError(f"no shape tells how many heads a ViT of width {width} has; say it with --heads", exit_code=2)
    if "norm_pre.weight" in tensors:  # CLIP's, and with it another activation, which no name tells
        raise MienError("a ViT with a norm before its blocks; name the network with --architecture")
    sizes: dict[str, Any] = {
        "image_pixels": math.isqrt(places - own) * patch,
        "patch_pixels": patch,
        "width": width,
        "depth": len(_numbers(tensors, r"blocks\.(\d+)\.")),
        "heads": heads,
    }
    special = {
        "registers": registers,
        "layer_scale": "blocks.0.ls1.gamma" in tensors,
        "pooled_norm": "norm.weight" not in tensors and "fc_norm.weight" in tensors,
    }
    sizes |= {name: value for name, value in special.items() if value} | ({} if own else {"class_position": False})
    return Published(
        Architecture(network="vit", sizes=sizes), Normalisation(**IMAGENET, pixels=sizes["image_pixels"]), tensors
    )


def _is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number


def _face_resnet(tensors: dict[str, Tensor]) -> Published | None:
    if not {"input_layer.0.weight", "body.0.res_layer.1.weight"} <= set(tensors):
        return None
    units = _numbers(tensors, r"body\.(\d+)\.res_layer\.1\.weight")
    widths = [tensors[f"body.{unit}.res_layer.1.weight"].shape[0] for unit in units]
    stages = [(width, len(list(same))) for width, same in groupby(widths)]  # each stage is twice as wide as the last
    sizes: dict[str, Any] = {"channels": [width for width, _ in stages], "units": [count for _, count in stages]}
    return Published(Architecture(network="face_resnet", sizes=sizes), Normalisation(**HALVES, pixels=112), tensors)


def _dan(tensors: dict[str, Tensor]) -> Published | None:
    if not {"features.0.weight", "cat_head0.sa.conv1x1.0.weight", "fc.weight", "bn.weight"} <= set(tensors):
        return None
    sizes: dict[str, Any] = {
        "channels": [tensors[f"features.{4 + stage}.0.conv1.weight"].shape[0] for stage in range(4)],
        "layers": [len(_numbers(tensors, rf"features\.{4 + stage}\.(\d+)\.")) for stage in range(4)],
        "attention_heads": len(_numbers(tensors, r"cat_head(\d+)\.")),
        "classes": tensors["fc.weight"].shape[0],
    }
    ours = {_renamed(name, DAN_NAMES): tensor for name, tensor in tensors.items()}
    return Published(Architecture(network="dan", sizes=sizes), Normalisation(**IMAGENET, pixels=224), ours)


def _renamed(name: str, names: tuple[tuple[str, str], ...]) -> str:
    """A name by the first pair whose pattern begins it; as it is where none does."""
    return next((re.sub(f"^{old}", new, name) for old, new in names if re.match(old, name)), name)


def _efficientnet(tensors: dict[str, Tensor]) -> Published | None:
    if not {"conv_stem.weight", "conv_head.weight"} <= set(tensors):
        return None
    blocks = {match[0] for name in tensors if (match := re.match(r"blocks\.\d+\.\d+\.", name))}
    found = EFFICIENTNETS.get((tensors["conv_head.weight"].shape[0], len(blocks)))
    if found is None:
        return None
    return Published(Architecture(network=found[0]), Normalisation(**IMAGENET, pixels=found[1]), tensors)


def _resnet(tensors: dict[str, Tensor]) -> Published | None:
    if not {"conv1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"} <= set(tensors):
        return None
    depths = tuple(len(_numbers(tensors, rf"layer{stage}\.(\d+)\.")) for stage in (1, 2, 3, 4))
    name = RESNETS.get(("layer1.0.conv3.weight" in tensors, depths))
    if name is None:
        return None
    return Published(Architecture(network=name), Normalisation(**IMAGENET, pixels=224), tensors)


def _mini_xception(tensors: dict[str, Tensor]) -> Published | None:
    ours = mini_xception_tensors(tensors)
    if ours is None:
        return None
    sizes: dict[str, Any] = {"classes": len(ours["head.bias"])}
    seen = Normalisation(**HALVES, pixels=64, colours="grey")
    return Published(Architecture(network="mini_xception", sizes=sizes), seen, ours)
