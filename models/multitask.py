"""Multi-task networks that learn emotion and appearance together, and their ensemble (Jeong et al., arXiv 2207.10025).

Known of the published system: emotion branches and appearance branches learn jointly and share face information, and
several such networks are ensembled. Ours, since the paper's branches are not public: which appearance targets there
are (landmarks, head pose, an identity embedding, age and sex), the losses and their weights, the exchange (each branch
adds a gated view of the other), and the ensemble as the mean of the networks' probabilities.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.across import whole
from models.backbone import Backbone
from models.losses import expression_loss
from models.system import Batch, System

# Target and its size; an identity embedding is as long as the recognition network's.
TARGET_SIZES = {"landmarks": 10, "pose": 2, "age": 1, "sex": 1}


class Exchange(nn.Module):
    """Two branches, each of which adds what a gate lets through of the other's features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.values = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.gates = nn.ModuleList(nn.Linear(width, width) for _ in range(2))

    def forward(self, emotion: Tensor, appearance: Tensor) -> tuple[Tensor, Tensor]:
        """Two (B, width) to two (B, width)."""
        told = [
            torch.sigmoid(gate(other)) * value(other)
            for gate, value, other in zip(self.gates, self.values, (appearance, emotion), strict=True)
        ]
        return emotion + told[0], appearance + told[1]


class BranchedNetwork(nn.Module):
    """A shared backbone, an emotion branch and an appearance branch."""

    def __init__(self, backbone: Backbone, width: int, classes: int, targets: dict[str, int]) -> None:
        super().__init__()
        self.backbone = backbone
        self.emotion, self.appearance = (
            nn.Sequential(backbone.head_norm(), nn.Linear(backbone.width, width), nn.GELU()) for _ in range(2)
        )
        self.exchange = Exchange(width)
        self.head = nn.Linear(width, classes)
        self.appearance_heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in targets.items()})

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """uint8 images (B, 3, P, P) to expression logits (B, classes) and appearance outputs by target."""
        features = self.backbone(images)
        emotion, appearance = self.exchange(self.emotion(features), self.appearance(features))
        return self.head(emotion), {name: head(appearance) for name, head in self.appearance_heads.items()}


def appearance_loss(name: str, output: Tensor, target: Tensor) -> Tensor:
    """Mean over the faces whose target is known (a target that is not is NaN): output and target (B, size).

    One minus cosine for an embedding, cross-entropy for sex, squared error for the rest.
    """
    output, target = whole(output), whole(target)
    known = torch.isfinite(target).all(dim=1)
    if not known.any():
        return output.sum() * 0
    output, target = output[known], target[known]
    if name == "identity":
        return (1 - F.cosine_similarity(output, target)).mean()
    if name == "sex":
        return F.binary_cross_entropy_with_logits(output, target)
    return F.mse_loss(output, target)


class Multitask(System):
    """The ensemble: networks of their own backbones, trained side by side on the same batches.

    A batch has, for each name of `appearance_weights`, its target (B, size): `landmarks` in [-1, 1] crop coordinates,
    `pose` (yaw and pitch in radians), `identity`, `age` (years / 100), `sex` (1 is male); NaN where it is not known.
    """

    def __init__(
        self,
        backbones: Sequence[Backbone],
        *,
        width: int,
        classes: int,
        appearance_weights: dict[str, float],
        identity_width: int = 0,
    ) -> None:
        super().__init__()
        self.pixels = backbones[0].pixels
        self.weights = {name: weight for name, weight in appearance_weights.items() if weight}
        targets = {name: TARGET_SIZES.get(name, identity_width) for name in self.weights}
        self.networks = nn.ModuleList(BranchedNetwork(backbone, width, classes, targets) for backbone in backbones)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Each network's cross-entropy and weighted appearance losses; networks share no parameters, so their sum
        trains each alone.
        """
        parts: dict[str, Tensor] = {}
        for network in self.networks:
            logits, outputs = network(batch["images"])
            every = torch.ones(len(logits), device=logits.device)
            found = {"expression": expression_loss(logits, batch["expression"], every)}
            found |= {
                name: weight * appearance_loss(name, outputs[name], batch[name])
                for name, weight in self.weights.items()
            }
            parts = {name: parts.get(name, 0) + loss for name, loss in found.items()}
        return parts

    def probabilities(self, images: Tensor) -> list[Tensor]:
        """Each network's expression probabilities (B, classes)."""
        return [network(images)[0].softmax(-1) for network in self.networks]

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Expression probabilities (B, classes): the networks' mean."""
        return {"expression": torch.stack(self.probabilities(batch["images"])).mean(dim=0)}

    def no_weight_decay(self) -> set[str]:
        """Names that weight decay leaves alone (timm's convention)."""
        return {
            f"networks.{number}.backbone.{name}"
            for number, network in enumerate(self.networks)
            for name in network.backbone.no_weight_decay()  # type: ignore[operator,union-attr]
        }

    def backbones(self) -> list[str]:
        """Each network's own."""
        return [
            f"networks.{number}.backbone.{network.backbone.trunk}"  # type: ignore[union-attr]
            for number, network in enumerate(self.networks)
        ]
