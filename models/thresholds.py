"""How sure an answer must be to become a pseudo-label: a threshold for each class, fixed or learnt.

Each keeps its thresholds in the buffer `tau` (C,). `observe` sees the mean class probabilities of every unlabelled
batch, `update` the averaged model's answers on the labelled set once an epoch.
"""

import torch
from torch import Tensor, nn


class FixedThreshold(nn.Module):
    """One threshold for all classes and all time (FixMatch, Sohn et al. 2020: 0.95)."""

    tau: Tensor

    def __init__(self, classes: int, start: float) -> None:
        super().__init__()
        self.register_buffer("tau", torch.full((classes,), start))

    def accept(self, probabilities: Tensor) -> Tensor:
        """Mask (B,) of the rows of probabilities (B, C) whose likeliest class reaches its threshold."""
        confidence, guess = probabilities.max(dim=1)
        return confidence >= self.tau[guess]

    def observe(self, probabilities: Tensor) -> None:
        """See the probabilities (B, C) of an unlabelled batch, before `accept`."""

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """See the averaged model's probabilities (N, C) on the labelled set (N,)."""


class DynamicThreshold(FixedThreshold):
    """The dynamic threshold module (arXiv 2303.08617): per class, from the labelled set, once an epoch.

    With m_c the mean confidence of the samples of class c that are classified rightly:
    tau_c = momentum * tau_c + (1 - momentum) * m_c where m_c >= floor, and tau_c = floor where it is not or no sample
    is right.
    """

    def __init__(self, classes: int, floor: float = 0.8, momentum: float = 0.9) -> None:
        super().__init__(classes, floor)
        self.floor, self.momentum = floor, momentum

    @torch.no_grad()
    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """See the averaged model's probabilities (N, C) on the labelled set (N,); -1 is no label."""
        confidence, guess = probabilities.max(dim=1)
        for number in range(len(self.tau)):
            right = confidence[(labels == number) & (guess == number)]
            mean = float(right.mean()) if len(right) else 0.0
            grown = self.momentum * self.tau[number] + (1 - self.momentum) * mean
            self.tau[number] = grown if mean >= self.floor else self.floor


class SelfAdaptiveThreshold(FixedThreshold):
    """FreeMatch's self-adaptive threshold (Wang et al. 2023, arXiv 2205.07246), without its fairness loss.

    A global confidence and the mean class probabilities, both moving averages over unlabelled batches that start at
    1 / C: tau_c = confidence * p_c / max p.
    """

    confidence: Tensor
    p_model: Tensor

    def __init__(self, classes: int, momentum: float = 0.999) -> None:
        super().__init__(classes, 1 / classes)
        self.momentum = momentum
        self.register_buffer("confidence", torch.tensor(1 / classes))
        self.register_buffer("p_model", torch.full((classes,), 1 / classes))

    @torch.no_grad()
    def observe(self, probabilities: Tensor) -> None:
        """See the probabilities (B, C) of an unlabelled batch, before `accept`."""
        self.confidence.lerp_(probabilities.max(dim=1).values.mean(), 1 - self.momentum)
        self.p_model.lerp_(probabilities.mean(dim=0), 1 - self.momentum)
        self.tau.copy_(self.confidence * self.p_model / self.p_model.max())
