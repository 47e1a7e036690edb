"""The plain system: one backbone, the MAE-initialised ViT unless params name another, and one linear head a task."""

import torch
from torch import Tensor, nn

from models.backbone import Backbone
from models.losses import task_losses, task_scores
from models.system import Batch, System


class VitHeads(System):
    """One backbone and the heads of a track's tasks.

    `expressions` is the number of classes (0 for none); `aus` and `va` switch the 12 AU logits and the valence-arousal
    pair; `au_pos_weight` is the weight of an active unit in its cross-entropy.
    """

    au_pos_weight: Tensor

    def __init__(
        self,
        backbone: Backbone,
        *,
        expressions: int,
        aus: bool,
        va: bool,
        label_smoothing: float,
        pseudo_weight: float,
        au_pos_weight: list[float] | None = None,
    ) -> None:
        super().__init__()
        self.pixels = backbone.pixels
        self.backbone = backbone
        width = backbone.width
        self.norm = backbone.head_norm()
        outputs_of = {"expression": expressions, "aus": 12 * aus, "va": 2 * va}
        linear = {task: nn.Linear(width, outputs) for task, outputs in outputs_of.items() if outputs}
        for head in linear.values():
            nn.init.trunc_normal_(head.weight, std=2e-5)  # as MAE fine-tunes: all classes start equal
        self.heads = nn.ModuleDict(linear)
        self.label_smoothing = label_smoothing
        self.pseudo_weight = pseudo_weight
        self.register_buffer("au_pos_weight", torch.tensor(au_pos_weight or [1.0] * 12), persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 images (B, 3, P, P) to the logits of each task."""
        features = self.norm(self.backbone(images))
        return {task: head(features) for task, head in self.heads.items()}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named parts of the loss of a batch; their sum is minimised. Pseudo-labelled faces count `pseudo_weight`."""
        weights = torch.where(batch["pseudo"], self.pseudo_weight, 1.0)
        return task_losses(self(batch["images"]), batch, weights, self.au_pos_weight, self.label_smoothing)

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Probabilities, and valence and arousal (`task_scores`)."""
        return task_scores(self(batch["images"]))

    def no_weight_decay(self) -> set[str]:
        """Names that weight decay leaves alone (timm's convention)."""
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    def backbones(self) -> list[str]:
        """The one network."""
        return [f"backbone.{self.backbone.trunk}"]
