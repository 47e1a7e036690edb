"""A temporal encoder: a transformer over the cached features of a window of frames, with a head for each task.

The feedback system's own encoder is not public. Ours follows its siblings of the same challenge: a linear projection,
sine-cosine positions, a small transformer, one answer a frame, and overlapping windows whose logits are averaged.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.losses import task_losses, task_scores
from models.standardise import Standardise
from models.system import Batch, System

WINDOWS = 32  # scored at a time, so that a long video of wide features fits into memory


def sincos_positions(length: int, width: int) -> Tensor:
    """Sine-cosine positions of a sequence (length, width) (Vaswani et al. 2017)."""
    place = torch.arange(length)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([(place * rate).sin(), (place * rate).cos()], dim=2).flatten(1)


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """First frames of the windows over a video: every `stride`, the last one ending with the video."""
    last = max(0, length - window)
    return sorted({*range(0, last, stride), last})


class DilatedConvolution(nn.Module):
    """A residual convolution over time whose three taps are `dilation` frames apart (Bai et al. 2018, not causal)."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """(B, W, width) to the same; frames that are not `present` (B, W) reach no other."""
        seen = self.norm(x) * present[..., None]
        found = self.convolution(seen.transpose(1, 2)).transpose(1, 2)
        return x + self.dropout(nn.functional.gelu(found))


class TemporalEncoder(System):
    """The tasks of `outputs` (their numbers of logits) for each frame of a window.

    A batch holds `features` (B, W, D), `present` (B, W), False where no face was found or the video has ended, and the
    tasks' labels (B, W, ...) with -1 for an invalid expression or AU, -5 for invalid valence and arousal. `tcn_layers`
    dilated convolutions stand before the transformer; `standardise` takes off the features' mean over frames, where
    the published form has a layer norm; `positions` False leaves the order to the convolutions.
    """

    places: Tensor
    au_pos_weight: Tensor

    def __init__(
        self,
        features: int,
        *,
        outputs: Mapping[str, int],
        window_frames: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        positions: bool = True,
        tcn_layers: int = 0,
        standardise: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.outputs = dict(outputs)
        self.window, self.label_smoothing = window_frames, label_smoothing
        self.even = Standardise(features) if standardise else nn.LayerNorm(features)
        self.embed = nn.Linear(features, width)
        self.tcn = nn.ModuleList(DilatedConvolution(width, 2**layer, dropout) for layer in range(tcn_layers))
        layer = nn.TransformerEncoderLayer(
            width, heads, feedforward, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleDict({task: nn.Linear(width, size) for task, size in outputs.items()})
        places = sincos_positions(window_frames, width)
        self.register_buffer("places", places if positions else torch.zeros_like(places), persistent=False)
        self.register_buffer("au_pos_weight", torch.ones(12), persistent=False)

    def forward(self, features: Tensor, present: Tensor) -> dict[str, Tensor]:
        """(B, W, D) and (B, W) to logits (B, W, ...) by task; frames that are not present are seen by none."""
        x = self.embed(self._evened(features, present))
        for convolution in self.tcn:
            x = convolution(x, present)
        x = x + self.places[: features.shape[1]]
        hidden = ~present & present.any(dim=1, keepdim=True)  # a window without any frame must not give NaN
        x = self.norm(self.encoder(x, src_key_padding_mask=hidden))
        return {task: head(x) for task, head in self.heads.items()}

    def _evened(self, features: Tensor, present: Tensor) -> Tensor:
        if not isinstance(self.even, Standardise):
            return self.even(features)
        flat = features.flatten(0, 1)
        return self.even(flat, present.flatten()[:, None]).view_as(features)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Each task's loss over the present frames with a label."""
        logits = {task: x.flatten(0, 1) for task, x in self(batch["features"], batch["present"]).items()}
        present = batch["present"].flatten()
        labels = {task: batch[task].flatten(0, 1) for task in logits}
        if "va" in labels:  # its loss is over the valid frames, and has no weights
            labels["va"] = labels["va"].masked_fill(~present[:, None], -5)
        return task_losses(logits, labels, present.float(), self.au_pos_weight, self.label_smoothing)

    @torch.no_grad()
    def predict_video(self, features: Tensor, present: Tensor, stride: int) -> dict[str, Tensor]:
        """Scores (N, ...) by task of a video's frames (N, D): windows every `stride`, logits averaged."""
        length = len(features)
        window = min(self.window, length)
        starts = torch.tensor(window_starts(length, window, stride), device=features.device)
        frames = starts[:, None] + torch.arange(window, device=features.device)
        sums = {task: torch.zeros(length, size, device=features.device) for task, size in self.outputs.items()}
        for some in frames.split(WINDOWS):
            for task, logits in self(features[some], present[some]).items():
                sums[task].index_add_(0, some.flatten(), logits.flatten(0, 1).float())
        count = torch.bincount(frames.flatten(), minlength=length)[:, None]
        return task_scores({task: total / count for task, total in sums.items()})
