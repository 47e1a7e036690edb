"""DAN, the expression network that EMMA leans on (Wen et al. 2021, arXiv 2109.07270): a ResNet read by attention heads.

Each head looks where (spatial attention) and then at what (channel attention); the heads' answers are told apart by a
log-softmax over the heads and summed. The affinity and partition losses of DAN's own training are not needed here.
"""

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

from models.losses import expression_loss
from models.normalise import Normalise
from models.system import Batch, System

REDUCTION = 16


class CrossAttentionHead(nn.Module):
    """Spatial attention over a map, then channel attention over its mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, few = channels // 2, max(1, channels // REDUCTION)
        self.reduce = nn.Sequential(nn.Conv2d(channels, half, 1), nn.BatchNorm2d(half))
        self.kernels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(half, channels, size, padding=(size[0] // 2, size[1] // 2)), nn.BatchNorm2d(channels)
            )
            for size in ((3, 3), (1, 3), (3, 1))
        )
        self.channel = nn.Sequential(
            nn.Linear(channels, few), nn.BatchNorm1d(few), nn.ReLU(), nn.Linear(few, channels), nn.Sigmoid()
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, S, S) to (B, C)."""
        reduced = self.reduce(maps)
        places = torch.stack([kernel(reduced) for kernel in self.kernels]).sum(dim=0).relu().sum(dim=1, keepdim=True)
        mean = (maps * places).mean(dim=(2, 3))
        return mean * self.channel(mean)


class DanNet(nn.Module):
    """uint8 images (B, 3, P, P) to expression logits (B, classes)."""

    def __init__(
        self,
        *,
        channels: Sequence[int],
        layers: Sequence[int],
        attention_heads: int,
        classes: int,
        normalise: Normalise | None = None,
    ) -> None:
        super().__init__()
        self.normalise = normalise or Normalise()
        block: Any = BasicBlock  # timm's annotation asks for an instance
        self.features = ResNet(block, tuple(layers), num_classes=0, global_pool="", channels=tuple(channels))
        self.heads = nn.ModuleList(CrossAttentionHead(channels[-1]) for _ in range(attention_heads))
        self.head = nn.Linear(channels[-1], classes)
        self.norm = nn.BatchNorm1d(classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, their scale set by a batch norm over the classes."""
        maps = self.features(self.normalise(images))
        answers = torch.stack([head(maps) for head in self.heads])
        if len(self.heads) > 1:
            answers = answers.log_softmax(dim=0)
        return self.norm(self.head(answers.sum(dim=0)))


class Dan(System):
    """DAN as a system of its own: the LSD baseline, and the frozen network of EMMA."""

    def __init__(
        self,
        *,
        image_pixels: int,
        channels: Sequence[int],
        layers: Sequence[int],
        attention_heads: int,
        classes: int,
        label_smoothing: float,
        normalise: Normalise | None = None,
    ) -> None:
        super().__init__()
        self.pixels = image_pixels
        self.net = DanNet(
            channels=channels, layers=layers, attention_heads=attention_heads, classes=classes, normalise=normalise
        )
        self.label_smoothing = label_smoothing

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy over faces with a label."""
        logits = self.net(batch["images"])
        every = torch.ones(len(logits), device=logits.device)
        return {"expression": expression_loss(logits, batch["expression"], every, self.label_smoothing)}

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Expression probabilities (B, classes)."""
        return {"expression": self.net(batch["images"]).softmax(-1)}
