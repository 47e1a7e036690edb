"""Every random draw is a function of (seed, step), so a resumed run draws what an undisturbed one would."""

import random

import numpy as np
import torch


def step_seed(seed: int, step: int) -> int:
    """A 63-bit seed for one step of one run."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def seed_step(seed: int, step: int) -> np.random.Generator:
    """Seed torch (CPU and GPUs), NumPy's and Python's global states for a step; returns a generator for sampling."""
    value = step_seed(seed, step)
    torch.manual_seed(value)
    np.random.seed(value % 2**32)
    random.seed(value)
    return batch_generator(seed, step)


def batch_generator(seed: int, step: int) -> np.random.Generator:
    """The generator that the batches of a step are drawn from; it leaves the global states alone."""
    return np.random.default_rng(step_seed(seed, step))


def deterministic() -> None:
    """Ask torch for the same bits from the same inputs."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    # else all new memory is filled with NaN first: 5 % of a training, and nothing of ours reads what it has not written
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
