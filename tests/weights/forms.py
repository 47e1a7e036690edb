"""Small networks as their authors publish them: names, nesting and arguments are theirs, numbers are random.

Each source network stands apart from ours: built of timm's or torch's own parts, or written out from its names.
"""

import functools
from argparse import Namespace
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

SIZES: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0}
ARGS = Namespace(model="mae_vit_tiny", norm_pix_loss=True, lr=1e-3)


def enliven(network: nn.Module) -> nn.Module:
    """Every parameter and statistic far from its start, so that none that is lost goes unseen."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5) if "var" in name else nn.init.normal_(tensor, std=0.3)
    return network.eval()


def vit(**changes: Any) -> VisionTransformer:
    network = VisionTransformer(**SIZES | changes)
    enliven(network)
    return network


def mae_full(encoder: nn.Module) -> dict[str, Tensor]:
    """facebookresearch/mae after pretraining, with the decoder that `*_full.pth` keeps."""
    decoder = {
        "mask_token": torch.randn(1, 1, 8),
        "decoder_pos_embed": torch.randn(1, 17, 8),
        "decoder_embed.weight": torch.randn(8, 16),
        "decoder_embed.bias": torch.randn(8),
        "decoder_norm.weight": torch.randn(8),
        "decoder_norm.bias": torch.randn(8),
        "decoder_pred.weight": torch.randn(192, 8),
        "decoder_pred.bias": torch.randn(192),
    }
    blocks = {f"decoder_blocks.0.{name}": tensor for name, tensor in Block(8, 2, qkv_bias=True).state_dict().items()}
    return {**encoder.state_dict(), **decoder, **blocks}


class Dino(nn.Module):
    """DINOv2: positions of the class token and the patches, then registers behind the class token."""

    def __init__(self, registers: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 16))
        self.pos_embed = nn.Parameter(torch.zeros(1, 17, 16))
        self.mask_token = nn.Parameter(torch.zeros(1, 16))
        self.register_tokens = nn.Parameter(torch.zeros(1, registers, 16)) if registers else None
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 16, 8, 8)})
        norm: Any = functools.partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.ModuleList(Block(16, 2, qkv_bias=True, init_values=1.0, norm_layer=norm) for _ in range(2))
        self.norm = norm(16)

    def forward(self, images: Tensor) -> Tensor:
        """The class token."""
        patches = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        if self.register_tokens is not None:
            x = torch.cat([x[:, :1], self.register_tokens.expand(len(x), -1, -1), x[:, 1:]], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


def ir_tensors(channels: list[int], units: list[int]) -> dict[str, Tensor]:
    """The names of face.evoLVe's IR-50, classifier included."""

    def norm(name: str, width: int) -> dict[str, Tensor]:
        kinds = {"weight": torch.randn(width), "bias": torch.randn(width), "running_mean": torch.randn(width)}
        kinds |= {"running_var": torch.rand(width) + 0.5, "num_batches_tracked": torch.tensor(7)}
        return {f"{name}.{kind}": tensor for kind, tensor in kinds.items()}

    first = channels[0]
    tensors = {"input_layer.0.weight": torch.randn(first, 3, 3, 3) / 5, **norm("input_layer.1", first)}
    tensors |= {"input_layer.2.weight": torch.rand(first)}
    inputs, number = first, 0
    for outputs, count in zip(channels, units, strict=True):
        for _ in range(count):
            name = f"body.{number}"
            if inputs != outputs:
                tensors[f"{name}.shortcut_layer.0.weight"] = torch.randn(outputs, inputs, 1, 1) / 3
                tensors |= norm(f"{name}.shortcut_layer.1", outputs)
            tensors |= norm(f"{name}.res_layer.0", inputs) | norm(f"{name}.res_layer.4", outputs)
            tensors[f"{name}.res_layer.1.weight"] = torch.randn(outputs, inputs, 3, 3) / 10
            tensors[f"{name}.res_layer.2.weight"] = torch.rand(outputs)
            tensors[f"{name}.res_layer.3.weight"] = torch.randn(outputs, outputs, 3, 3) / 10
            inputs, number = outputs, number + 1
    return tensors | norm("output_layer.0", inputs) | {"output_layer.3.weight": torch.randn(8, inputs)}


def ir_forward(tensors: dict[str, Tensor], channels: list[int], units: list[int], images: Tensor) -> Tensor:
    """The map before `output_layer`, from the names alone."""

    def norm(x: Tensor, name: str) -> Tensor:
        kinds = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(tensors[f"{name}.{kind}"] for kind in kinds))  # type: ignore[arg-type]

    x = F.conv2d(images, tensors["input_layer.0.weight"], padding=1)
    x = F.prelu(norm(x, "input_layer.1"), tensors["input_layer.2.weight"])
    number = 0
    for outputs, count in zip(channels, units, strict=True):
        for place in range(count):
            name, stride = f"body.{number}", 1 if place else 2
            short = x[:, :, ::stride, ::stride]
            if x.shape[1] != outputs:
                short = norm(F.conv2d(short, tensors[f"{name}.shortcut_layer.0.weight"]), f"{name}.shortcut_layer.1")
            y = F.conv2d(norm(x, f"{name}.res_layer.0"), tensors[f"{name}.res_layer.1.weight"], padding=1)
            y = F.prelu(y, tensors[f"{name}.res_layer.2.weight"])
            y = F.conv2d(y, tensors[f"{name}.res_layer.3.weight"], padding=1, stride=stride)
            x = norm(y, f"{name}.res_layer.4") + short
            number += 1
    return x


class PublishedDan(nn.Module):
    """DAN in its authors' names: `features.*`, `cat_head<n>.sa`, `cat_head<n>.ca`, `fc`, `bn`."""

    def __init__(self, channels: tuple[int, ...], heads: int, classes: int) -> None:
        super().__init__()
        block: Any = BasicBlock
        resnet = ResNet(block, (1, 1, 1, 1), num_classes=9, channels=channels)
        self.features = nn.Sequential(*list(resnet.children())[:-2])
        self.count = heads
        for number in range(heads):
            self.add_module(f"cat_head{number}", PublishedHead(channels[-1]))
        self.fc = nn.Linear(channels[-1], classes)
        self.bn = nn.BatchNorm1d(classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        x = self.features(images)
        heads = torch.stack([self.get_submodule(f"cat_head{n}")(x) for n in range(self.count)]).permute(1, 0, 2)
        return self.bn(self.fc(F.log_softmax(heads, dim=1).sum(dim=1)))


class PublishedHead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half, few = width // 2, width // 16
        self.sa = nn.ModuleDict({"conv1x1": nn.Sequential(nn.Conv2d(width, half, 1), nn.BatchNorm2d(half))})
        for name, size, padding in (("3x3", 3, 1), ("1x3", (1, 3), (0, 1)), ("3x1", (3, 1), (1, 0))):
            convolution = nn.Conv2d(half, width, size, padding=padding)
            self.sa[f"conv_{name}"] = nn.Sequential(convolution, nn.BatchNorm2d(width))
        layers = (nn.Linear(width, few), nn.BatchNorm1d(few), nn.ReLU(), nn.Linear(few, width), nn.Sigmoid())
        self.ca = nn.ModuleDict({"attention": nn.Sequential(*layers)})

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, S, S) to (B, width)."""
        y = self.sa["conv1x1"](x)
        places = self.sa["conv_3x3"](y) + self.sa["conv_1x3"](y) + self.sa["conv_3x1"](y)
        pooled = F.adaptive_avg_pool2d(x * F.relu(places).sum(dim=1, keepdim=True), 1).flatten(1)
        return pooled * self.ca["attention"](pooled)
