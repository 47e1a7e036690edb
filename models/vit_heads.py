"""The first system: an MAE-initialised ViT with one linear head a task."""

import torch
from torch import Tensor, nn

from models.losses import au_loss, expression_loss, va_loss
from models.system import Batch, System
from models.vit import build_vit, grid_pool, normalise


class VitHeads(System):
    """One encoder and the heads of a track's tasks.

    `expressions` is the number of classes (0 for none); `aus` and `va` switch the 12 AU logits and the valence-arousal
    pair; `au_pos_weight` is the weight of an active unit in its cross-entropy.
    """

    au_pos_weight: Tensor

    def __init__(
        self,
        vit: dict[str, int],
        *,
        expressions: int,
        aus: bool,
        va: bool,
        readout_grid: int,
        drop_path: float,
        label_smoothing: float,
        pseudo_weight: float,
        au_pos_weight: list[float] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = build_vit(**vit, drop_path=drop_path)
        self.readout_grid = readout_grid
        width = readout_grid**2 * vit["width"]
        self.norm = nn.LayerNorm(width)
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
        features = self.norm(grid_pool(self.encoder, normalise(images), self.readout_grid))
        return {task: head(features) for task, head in self.heads.items()}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named parts of the loss of a batch; their sum is minimised. Pseudo-labelled faces count `pseudo_weight`."""
        logits = self(batch["images"])
        weights = torch.where(batch["pseudo"], self.pseudo_weight, 1.0)
        parts = {}
        if "expression" in logits:
            parts["expression"] = expression_loss(
                logits["expression"], batch["expression"], weights, self.label_smoothing
            )
        if "aus" in logits:
            parts["aus"] = au_loss(logits["aus"], batch["aus"], weights, self.au_pos_weight)
        if "va" in logits:
            parts["va"] = va_loss(logits["va"].tanh(), batch["va"])
        return parts

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Probabilities (expression: softmax, aus: sigmoid) and valence-arousal in [-1, 1], over the crop and its
        mirror.
        """
        views = [self(images) for images in (batch["images"], batch["images"].flip(-1))]
        mean = {task: (views[0][task] + views[1][task]) / 2 for task in views[0]}
        activate = {"expression": lambda x: x.softmax(-1), "aus": torch.sigmoid, "va": torch.tanh}
        return {task: activate[task](x) for task, x in mean.items()}

    def no_weight_decay(self) -> set[str]:
        """Names that weight decay leaves alone (timm's convention)."""
        return {f"encoder.{name}" for name in self.encoder.no_weight_decay()}

    def group_matcher(self, coarse: bool = False) -> dict:
        """Layer groups for layer decay (timm's convention): embedding, blocks; what is left, the heads, comes last."""
        blocks = [(r"^encoder\.blocks\.(\d+)", None), (r"^encoder\.norm", (99999,))]  # 99999: with the last block
        return {"stem": r"^encoder\.(?:cls_token|pos_embed|patch_embed)", "blocks": blocks}
