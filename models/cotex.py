"""Masked CoTEX (Li et al., arXiv 2207.11679): MAE ViTs that see the same face through different masks and must agree.

Each view drops tokens at random for itself (no mask token stands in), reads its class token, and the views' mean
cross-entropy is joined by a Jensen-Shannon consistency. All tokens are seen at prediction, and logits are summed.
Ours: a raster of cells may be read instead of the class token (see `read_tokens`). It is standardised then, and a cell
that a mask hides counts as the mean of its place.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.across import whole
from models.backbone import Backbone, grid_of
from models.losses import expression_loss, jensen_shannon
from models.masking import encode_visible, patchify, random_masking, read_visible
from models.system import Batch, System
from models.vit import read_encoder


class View(nn.Module):
    """The ViT of a backbone and its classifier."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.pixels, self.normalise = backbone.pixels, backbone.normalise
        self.encoder, self.readout_grid = grid_of(backbone)
        self.standardised = backbone.standardised
        self.head = nn.Linear(backbone.width, classes)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)  # as MAE fine-tunes: all classes start equal
        self.patch = self.encoder.patch_embed.patch_size[0]

    def forward(self, images: Tensor, mask_ratio: float) -> Tensor:
        """uint8 images (B, 3, P, P) to logits (B, classes)."""
        x = self.normalise(images)
        if mask_ratio:
            patches = patchify(x, self.patch)
            kept, _ = random_masking(patches.shape[0], patches.shape[1], mask_ratio, patches.device)
            tokens = encode_visible(self.encoder, patches, kept)
            if self.readout_grid:
                return self.head(self.standardised(*read_visible(self.encoder, tokens, kept, self.readout_grid)))
        else:
            tokens = self.encoder.forward_features(x)
        return self.head(self.standardised(read_encoder(self.encoder, tokens, self.readout_grid)))


class CoTex(System):
    """Views of the same start and their own weights."""

    def __init__(self, views: Sequence[View], *, mask_ratio: float, consistency_weight: float) -> None:
        super().__init__()
        self.pixels = views[0].pixels
        self.views = nn.ModuleList(views)
        self.mask_ratio = mask_ratio
        self.consistency_weight = consistency_weight

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Mean cross-entropy of the views, and their divergence over the faces with a label."""
        logits = [view(batch["images"], self.mask_ratio) for view in self.views]
        labels = batch["expression"]
        every = torch.ones(len(labels), device=labels.device)
        entropy = torch.stack([expression_loss(z, labels, every) for z in logits]).mean()
        parts = {"expression": entropy}
        labelled = whole(labels >= 0)
        if self.consistency_weight and labelled.any():
            divergence = jensen_shannon([whole(z)[labelled].softmax(-1) for z in logits])
            parts["consistency"] = self.consistency_weight * divergence
        return parts

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Expression probabilities (B, classes) of the summed logits."""
        logits = torch.stack([view(batch["images"], 0.0) for view in self.views]).sum(dim=0)
        return {"expression": logits.softmax(-1)}

    def no_weight_decay(self) -> set[str]:
        """Names that weight decay leaves alone (timm's convention)."""
        return {
            f"views.{number}.encoder.{name}"
            for number, view in enumerate(self.views)
            for name in view.encoder.no_weight_decay()  # type: ignore[operator,union-attr]
        }

    def backbones(self) -> list[str]:
        """The ViT of each view."""
        return [f"views.{number}.encoder" for number in range(len(self.views))]
