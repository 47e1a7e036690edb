"""The contract between the training loop and what it trains."""

from collections.abc import Iterator

from torch import Tensor, nn

Batch = dict[str, Tensor]


class Trainee(nn.Module):
    """A module that the loop can train."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named parts of the loss of a batch; their sum is minimised."""
        raise NotImplementedError

    def steps(self, batch: Batch) -> Iterator[dict[str, Tensor]]:
        """The updates that one batch brings: the parts of a loss for each, in order.

        The loop takes an optimiser step on what was yielded before it asks for the next, so what comes later sees the
        parameters that came of what was earlier. Most trainees take one.
        """
        yield self.losses(batch)

    def no_weight_decay(self) -> set[str]:
        """Parameters that weight decay leaves alone (timm's convention)."""
        return set()

    def constant_rates(self) -> dict[str, float]:
        """Learning rate of each child that does not follow the schedule, nor weight decay, by the child's name."""
        return {}

    def backbones(self) -> list[str]:
        """Names of the modules that layer decay slows down, each from its own last layer; the rest are heads."""
        return []


class System(Trainee):
    """A trainee that predicts.

    A batch holds uint8 `images` (B, 3, P, P) and the labels of the track's tasks: `expression` (B,) with -1 for
    invalid, `aus` (B, 12) with -1, `va` (B, 2) with -5; `pseudo` (B,) marks faces whose labels a teacher gave. What
    else a system asks for stands in its docstring. `pixels` is P, the side of the images.
    """

    pixels: int

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Scores by task: expression probabilities (B, C), AU probabilities (B, 12), valence and arousal (B, 2)."""
        raise NotImplementedError
