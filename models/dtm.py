"""Semi-supervised learning with the dynamic threshold module (Yu et al., arXiv 2303.08617).

Two weak views of an unlabelled face are averaged; where their likeliest class reaches its threshold it becomes the
label of a strong view. Thresholds are in `models/thresholds.py`; the fixed and the self-adaptive one are baselines.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.across import whole
from models.backbone import Backbone
from models.losses import expression_loss
from models.system import Batch, System
from models.thresholds import FixedThreshold


class Dtm(System):
    """A backbone whose features are scaled to unit length before a linear classifier.

    A batch holds labelled `images` and `expression`, and three views of unlabelled faces, `weak`, `other_weak` and
    `strong` (U, 3, P, P). `scale` multiplies the unit features: without it confidences could not reach a threshold of
    0.8. During the first `supervised_steps` updates labelled faces alone count.
    """

    step: Tensor

    def __init__(
        self,
        backbone: Backbone,
        threshold: FixedThreshold,
        *,
        classes: int,
        scale: float,
        unlabelled_weight: float,
        supervised_steps: int,
    ) -> None:
        super().__init__()
        self.pixels = backbone.pixels
        self.backbone = backbone
        self.threshold = threshold
        self.head = nn.Linear(backbone.width, classes)
        self.scale = scale
        self.unlabelled_weight = unlabelled_weight
        self.supervised_steps = supervised_steps
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 images (B, 3, P, P) to logits (B, classes)."""
        return self.head(self.scale * F.normalize(self.backbone(images)))

    @torch.no_grad()
    def pseudo_labels(self, weak: Tensor, other_weak: Tensor) -> tuple[Tensor, Tensor]:
        """Likeliest class (U,) of the two views' mean, and the mask (U,) of those that count."""
        both = self(torch.cat([weak, other_weak])).softmax(-1)
        mean = (both[: len(weak)] + both[len(weak) :]) / 2
        self.threshold.observe(whole(mean))
        return mean.argmax(-1), self.threshold.accept(mean)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of labelled faces, and of the strong views whose weak ones were sure, averaged over all."""
        number = int(self.step)
        self.step += 1
        logits = self(batch["images"])
        every = torch.ones(len(logits), device=logits.device)
        parts = {"expression": expression_loss(logits, batch["expression"], every)}
        if self.unlabelled_weight and number >= self.supervised_steps:
            guess, accepted = self.pseudo_labels(batch["weak"], batch["other_weak"])
            loss = F.cross_entropy(self(batch["strong"]), guess, reduction="none")
            parts["unlabelled"] = self.unlabelled_weight * (loss * accepted).mean()
        return parts

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Expression probabilities (B, classes)."""
        return {"expression": self(batch["images"]).softmax(-1)}

    def no_weight_decay(self) -> set[str]:
        """Names that weight decay leaves alone (timm's convention)."""
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    def backbones(self) -> list[str]:
        """The one network."""
        return [f"backbone.{self.backbone.trunk}"]
