"""AU-CVT (Mao et al., arXiv 2207.09777): a convolutional vision transformer whose middle answers for action units.

A face-recognition stem, a patch embedding, four transformer blocks; there the AU branch reads overlapping regions of
the map; two more blocks and a mean over the map for the expression. Action units come from a teacher's pseudo-labels
(weight 0.5) or from a real AU data set in the same batch (weight 1).
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import trunc_normal_
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from models.face_resnet import IRStem
from models.losses import au_loss, expression_loss
from models.normalise import Normalise
from models.system import Batch, System

RASTER = 14  # the published map; a region is told in its rows and columns, and scaled to ours


@dataclass(frozen=True)
class Region:
    """Part of the map (rows and columns of a 14 x 14 raster, ends excluded) and the places of its AUs in the output."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    aus: tuple[int, ...]


WIDE = (0, RASTER)
# Where two regions name the same AU, the larger logit counts: a cheek may be turned away.
REGIONS: dict[str, tuple[Region, ...]] = {
    # the challenge's twelve (1 2 4 6 7 10 12 15 23 24 25 26): brows and eyes, both cheeks for AU6, mouth
    "abaw": (
        Region((0, 7), WIDE, (0, 1, 2, 4)),
        Region((5, 12), (0, 6), (3,)),
        Region((5, 12), (8, RASTER), (3,)),
        Region((6, RASTER), WIDE, (5, 6, 7, 8, 9, 10, 11)),
    ),
    # OpenFace's intensities but AU45: 1 2 4 5 6 7 9 above, 10 12 14 15 17 20 23 25 26 below (the published variant)
    "openface": (
        Region((0, 8), WIDE, tuple(range(7))),
        Region((6, RASTER), WIDE, tuple(range(7, 16))),
    ),
}


def region_slice(ends: tuple[int, int], side: int) -> slice:
    """Rows or columns of a region on a map of `side`, rounded outwards."""
    return slice(math.floor(ends[0] * side / RASTER), math.ceil(ends[1] * side / RASTER))


class AuBranch(nn.Module):
    """For each region: mean over its cells, layer norm, one logit an AU."""

    def __init__(self, regions: Sequence[Region], width: int) -> None:
        super().__init__()
        self.regions = regions
        self.units = max(unit for region in regions for unit in region.aus) + 1
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for _ in regions)
        self.heads = nn.ModuleList(nn.Linear(width, len(region.aus)) for region in regions)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, width, S, S) to AU logits (B, units)."""
        side = maps.shape[-1]
        found: list[list[Tensor]] = [[] for _ in range(self.units)]
        for region, norm, head in zip(self.regions, self.norms, self.heads, strict=True):
            cells = maps[:, :, region_slice(region.rows, side), region_slice(region.columns, side)]
            logits = head(norm(cells.mean(dim=(2, 3))))
            for column, unit in enumerate(region.aus):
                found[unit].append(logits[:, column])
        return torch.stack([torch.stack(logits).amax(dim=0) for logits in found], dim=1)


class AuCvt(System):
    """Expression logits and AU logits of a face.

    `aus` of a batch (B, units) are pseudo-labels, or real ones on faces without an expression label; -1 is no label.
    """

    def __init__(
        self,
        *,
        image_pixels: int,
        classes: int,
        channels: Sequence[int],
        units: Sequence[int],
        width: int,
        heads: int,
        blocks_before: int,
        blocks_after: int,
        regions: str,
        au_weight: float,
        normalise: Normalise | None = None,
    ) -> None:
        super().__init__()
        self.normalise = normalise or Normalise()
        self.pixels = image_pixels
        self.stem = IRStem(channels, units)
        self.side = image_pixels // 2 ** len(channels)
        self.patch_embed = nn.Conv2d(channels[-1], width, 3, padding=1)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.side**2, width))
        trunc_normal_(self.pos_embed, std=0.02)
        norm: Any = functools.partial(nn.LayerNorm, eps=1e-6)
        before, after = (
            [Block(width, heads, qkv_bias=True, norm_layer=norm) for _ in range(count)]
            for count in (blocks_before, blocks_after)
        )
        self.stage_a, self.stage_b = nn.Sequential(*before), nn.Sequential(*after)
        self.au_branch = AuBranch(REGIONS[regions], width)
        self.norm = norm(width)
        self.head = nn.Linear(width, classes)
        self.au_weight = au_weight

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 images (B, 3, P, P) to expression logits (B, classes) and AU logits (B, units)."""
        maps = self.patch_embed(self.stem(self.normalise(images)))
        tokens = self.stage_a(maps.flatten(2).transpose(1, 2) + self.pos_embed)
        aus = self.au_branch(tokens.transpose(1, 2).unflatten(2, (self.side, self.side)))
        return self.head(self.norm(self.stage_b(tokens).mean(dim=1))), aus

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy plus `au_weight` times the AUs' binary cross-entropy, each over its own labelled faces."""
        expression, aus = self(batch["images"])
        every = torch.ones(len(expression), device=expression.device)
        parts = {"expression": expression_loss(expression, batch["expression"], every)}
        if self.au_weight:
            parts["aus"] = self.au_weight * au_loss(aus, batch["aus"], every)
        return parts

    @torch.no_grad()
    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Expression probabilities (B, classes)."""
        return {"expression": self(batch["images"])[0].softmax(-1)}

    def no_weight_decay(self) -> set[str]:
        """The position embedding is not decayed."""
        return {"pos_embed"}
