"""Features made comparable before a linear head: each less its mean over pictures, divided by its deviation."""

import torch
from torch import Tensor, nn

from models.across import total, world


class Standardise(nn.BatchNorm1d):
    """Batch norm without an affine part, as MAE's linear probe has it (He et al. 2022, arXiv 2111.06377, appendix A).

    Features read cell by cell are mostly a constant of their place, the same in all pictures. A head that reads them as
    they are moves every logit with each step along that constant; here it is taken off. In training the moments are
    those of the batch, in evaluation running ones, which are buffers: saved weights and checkpoints hold them.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6, affine=False)

    def forward(self, features: Tensor, seen: Tensor | None = None) -> Tensor:
        """(B, width) to the same; where `seen`, (B, width) or (B, 1), is False a feature has no part in the moments and
        comes out as zero, its mean. A batch of one has no deviation: running moments stand in.
        """
        rows = len(features) * world()
        if self.training and rows > 1 and (seen is not None or world() > 1):
            every = torch.ones(len(features), 1, dtype=torch.bool, device=features.device)
            return self._among_seen(features.float(), every if seen is None else seen)
        batch_moments = self.training and rows > 1
        out = nn.functional.batch_norm(
            features,
            self.running_mean,
            self.running_var,
            training=batch_moments,
            momentum=self.momentum or 0.0,
            eps=self.eps,
        )
        return out if seen is None else out * seen

    def _among_seen(self, features: Tensor, seen: Tensor) -> Tensor:
        weight = seen.to(features.dtype)  # products with booleans and their sums take twice as long
        count = total(weight.sum(dim=0))
        some = count.clamp_min(1)
        mean = total((features * weight).sum(dim=0)) / some
        centred = (features - mean) * weight
        variance = total(centred.square().sum(dim=0)) / some
        self._follow(mean.detach(), (variance * some / (some - 1).clamp_min(1)).detach(), count > 1)
        return centred * (variance + self.eps).rsqrt()

    def _follow(self, mean: Tensor, variance: Tensor, known: Tensor) -> None:
        """Move the running moments of the features that two pictures of the batch show, as `nn.BatchNorm1d` does."""
        for running, now in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            running.copy_(torch.where(known, running.lerp(now, self.momentum or 0.0), running))
