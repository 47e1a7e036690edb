"""The tasks' losses under their masks: -1 marks an invalid expression or AU, -5 an invalid valence or arousal.

A batch that several processes share is gathered first (`models/across.py`): a mean under a mask is of all its rows.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.across import whole


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of values (N,) under weights (N,); zero, with a gradient, where nothing counts."""
    return (values * weights).sum() / weights.sum().clamp_min(1e-6)


def expression_loss(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy over frames with a label: logits (B, C), labels (B,), sample weights (B,)."""
    logits, labels, weights = whole(logits), whole(labels), whole(weights)
    loss = F.cross_entropy(logits, labels.clamp_min(0), reduction="none", label_smoothing=smoothing)
    return _weighted_mean(loss, weights * (labels >= 0))


def au_loss(logits: Tensor, labels: Tensor, weights: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy over valid entries: logits and labels (B, 12), sample weights (B,)."""
    logits, labels, weights = whole(logits), whole(labels), whole(weights)
    target = labels.clamp_min(0).float()
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none", pos_weight=pos_weight)
    return _weighted_mean(loss.flatten(), (weights[:, None] * (labels >= 0)).flatten())


def concordance(predictions: Tensor, labels: Tensor) -> Tensor:
    """Lin's concordance correlation of two vectors, population moments; zero where it is undefined.

    In float32 or finer, also where a network answers in bfloat16: a difference from the mean has few digits there.
    """
    if len(labels) < 2:
        return predictions.sum() * 0
    predictions = predictions.to(torch.promote_types(predictions.dtype, torch.float32))
    x, y = predictions - predictions.mean(), labels - labels.mean()
    spread = x.square().mean() + y.square().mean() + (predictions.mean() - labels.mean()).square()
    return 2 * (x * y).mean() / spread.clamp_min(1e-8)


def va_loss(predictions: Tensor, labels: Tensor) -> Tensor:
    """(1 - CCC of valence) + (1 - CCC of arousal) over the batch's valid frames: both (B, 2)."""
    predictions, labels = whole(predictions), whole(labels)
    valid = (labels >= -1).all(dim=1)
    return sum((1 - concordance(predictions[valid, i], labels[valid, i]) for i in range(2)), torch.zeros(())) * (
        1.0 if valid.any() else 0.0
    )


def task_losses(
    logits: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    weights: Tensor,
    au_pos_weight: Tensor,
    smoothing: float = 0.0,
) -> dict[str, Tensor]:
    """The loss of each task that has logits: (B, C) and (B,), (B, 12) twice, (B, 2) twice; sample weights (B,)."""
    parts = {}
    if "expression" in logits:
        parts["expression"] = expression_loss(logits["expression"], labels["expression"], weights, smoothing)
    if "aus" in logits:
        parts["aus"] = au_loss(logits["aus"], labels["aus"], weights, au_pos_weight)
    if "va" in logits:
        parts["va"] = va_loss(logits["va"].tanh(), labels["va"])
    return parts


def task_scores(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Probabilities of expressions (softmax) and AUs (sigmoid), valence and arousal in [-1, 1] (tanh)."""
    activate = {"expression": lambda x: x.softmax(-1), "aus": torch.sigmoid, "va": torch.tanh}
    return {task: activate[task](x) for task, x in logits.items()}


def au_sum_loss(logits: Tensor, labels: Tensor, pos_weight: Tensor) -> Tensor:
    """Binary cross-entropy summed over the valid units of a frame and averaged over the frames of the batch (EMMA).

    Shapes as in `au_loss`; a frame without any valid unit counts in the average.
    """
    logits, labels = whole(logits), whole(labels)
    target = labels.clamp_min(0).float()
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none", pos_weight=pos_weight)
    return (loss * (labels >= 0)).sum() / len(labels)


def jensen_shannon(probabilities: Sequence[Tensor], least: float = 1e-4) -> Tensor:
    """Mean over the N views of KL(view || mean of the views), each (B, C) and averaged over batch *and* classes.

    Averaging over classes too is what masked CoTEX does: against the usual sum over classes its weight of 100 is one
    of 100 / C. Logarithms are taken of values no smaller than `least`.
    """
    mean = torch.stack(list(probabilities)).mean(dim=0)
    log_mean = mean.clamp_min(least).log()
    return torch.stack([(p * (p.clamp_min(least).log() - log_mean)).mean() for p in probabilities]).mean()
