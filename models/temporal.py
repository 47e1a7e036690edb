"""The temporal encoder of the feedback system: a transformer over the cached features of a window of frames.

The paper's encoder is not public. Ours follows its siblings of the same challenge: a linear projection, sine-cosine
positions, a small transformer, one classification a frame, and overlapping windows whose logits are averaged.
"""

import math

import torch
from torch import Tensor, nn

from models.losses import expression_loss
from models.system import Batch, System


def sincos_positions(length: int, width: int) -> Tensor:
    """Sine-cosine positions of a sequence (length, width) (Vaswani et al. 2017)."""
    place = torch.arange(length)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([(place * rate).sin(), (place * rate).cos()], dim=2).flatten(1)


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """First frames of the windows over a video: every `stride`, the last one ending with the video."""
    last = max(0, length - window)
    return sorted({*range(0, last, stride), last})


class TemporalEncoder(System):
    """One expression for each frame of a window.

    A batch holds `features` (B, W, D), `present` (B, W), False where no face was found or the video has ended, and
    `expression` (B, W) with -1 for invalid.
    """

    positions: Tensor

    def __init__(
        self,
        features: int,
        *,
        classes: int,
        window_frames: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.window = window_frames
        self.embed = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, feedforward, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        self.register_buffer("positions", sincos_positions(window_frames, width), persistent=False)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        """(B, W, D) and (B, W) to logits (B, W, classes); frames that are not present are seen by none."""
        x = self.embed(features) + self.positions[: features.shape[1]]
        hidden = ~present & present.any(dim=1, keepdim=True)  # a window without any frame must not give NaN
        return self.head(self.norm(self.encoder(x, src_key_padding_mask=hidden)))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy over the present frames with a label."""
        logits = self(batch["features"], batch["present"]).flatten(0, 1)
        weights = batch["present"].flatten().float()
        return {"expression": expression_loss(logits, batch["expression"].flatten(), weights)}

    @torch.no_grad()
    def predict_video(self, features: Tensor, present: Tensor, stride: int) -> Tensor:
        """Expression probabilities (N, classes) of a video's frames (N, D): windows every `stride`, logits averaged."""
        length = len(features)
        window = min(self.window, length)
        starts = window_starts(length, window, stride)
        frames = torch.tensor(starts, device=features.device)[:, None] + torch.arange(window, device=features.device)
        logits = self(features[frames], present[frames])
        total = torch.zeros(length, logits.shape[-1], device=features.device)
        total.index_add_(0, frames.flatten(), logits.flatten(0, 1))
        count = torch.bincount(frames.flatten(), minlength=length)
        return (total / count[:, None]).softmax(-1)
