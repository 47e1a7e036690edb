"""EMMA (Li et al., arXiv 2207.11679): an MAE ViT for expressions and action units, and valence and arousal from scores.

A frozen expression network's logits, the ViT's expression logits and its AU logits, in this order, are all that the
valence-arousal head sees; its gradient flows into the ViT.
"""

import torch
from torch import Tensor, nn

from models.backbone import Backbone, grid_of
from models.losses import au_sum_loss, expression_loss, va_loss
from models.system import Batch, System
from models.vit import freeze, read_encoder

EXPRESSIONS, AUS = 8, 12


class Emma(System):
    """Expression, AU and valence-arousal of a face, from the ViT of `backbone`.

    `cnn` gives `cnn_classes` logits for uint8 images and stays frozen, in evaluation mode: published training leaves
    its batch statistics moving, which is an oversight. `va_from` is "scores" (published) or "features": as many linear
    functions of what the ViT's own head reads, for comparison. `va_rate` is the constant learning rate of the head.
    `au_weight` multiplies the AUs' loss, a sum over twelve units: 1 is published and lets them outweigh the two other
    tasks, a twelfth makes a mean of it. A readout of grid 0 is the published class token; ours is the raster of cells
    (see `read_tokens`), standardised.
    """

    au_pos_weight: Tensor

    def __init__(
        self,
        backbone: Backbone,
        cnn: nn.Module,
        cnn_classes: int,
        *,
        hidden: int,
        va_hidden: int,
        va_from: str,
        va_rate: float,
        au_weight: float,
        au_pos_weight: list[float],
    ) -> None:
        super().__init__()
        self.pixels, self.normalise = backbone.pixels, backbone.normalise
        self.encoder, self.readout_grid = grid_of(backbone)
        self.standardised = backbone.standardised
        self.cnn = freeze(cnn)
        width = backbone.width
        self.head = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, EXPRESSIONS + AUS))
        self.va_from = va_from
        self.va_rate = va_rate
        self.au_weight = au_weight
        inputs = cnn_classes + EXPRESSIONS + AUS
        if va_from == "features":
            self.va_features = nn.Linear(width, inputs)
        self.va_head = nn.Sequential(nn.Linear(inputs, va_hidden), nn.ReLU(), nn.Linear(va_hidden, 2))
        self.register_buffer("au_pos_weight", torch.tensor(au_pos_weight), persistent=False)

    def train(self, mode: bool = True) -> "Emma":
        """Training mode for all but the frozen network."""
        super().train(mode)
        self.cnn.eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """uint8 images (B, 3, P, P) to expression logits, AU logits, and valence and arousal."""
        tokens = self.encoder.forward_features(self.normalise(images))
        features = self.standardised(read_encoder(self.encoder, tokens, self.readout_grid))
        scores = self.head(features)
        if self.va_from == "scores":
            with torch.no_grad():
                known = self.cnn(images)
            va = self.va_head(torch.cat([known, scores], dim=1))
        else:
            va = self.va_head(self.va_features(features))
        return {"expression": scores[:, :EXPRESSIONS], "aus": scores[:, EXPRESSIONS:], "va": va}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """(1 - CCC) of valence and of arousal, cross-entropy, weighted binary cross-entropy, each under its mask."""
        out = self(batch["images"])
        every = torch.ones(len(out["va"]), device=out["va"].device)
        return {
            "va": va_loss(out["va"], batch["va"]),
            "expression": expression_loss(out["expression"], batch["expression"], every),
            "aus": self.au_weight * au_sum_loss(out["aus"], batch["aus"], self.au_pos_weight),
        }

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Probabilities (expression: softmax, aus: sigmoid), and valence and arousal cut to [-1, 1]."""
        out = self(batch["images"])
        return {
            "expression": out["expression"].softmax(-1),
            "aus": out["aus"].sigmoid(),
            "va": out["va"].clamp(-1, 1),
        }

    def constant_rates(self) -> dict[str, float]:
        """The valence-arousal head has an optimiser's settings of its own."""
        return {"va_head": self.va_rate}

    def no_weight_decay(self) -> set[str]:
        """Names that weight decay leaves alone (timm's convention)."""
        return {f"encoder.{name}" for name in self.encoder.no_weight_decay()}

    def backbones(self) -> list[str]:
        """The ViT; the frozen network does not move."""
        return ["encoder"]
