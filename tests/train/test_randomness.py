"""Seeds of steps."""

import random

import numpy as np
import torch

from pipeline.train.randomness import seed_step, step_seed


def draws(seed: int, step: int) -> list[float]:
    generator = seed_step(seed, step)
    return [generator.random(), torch.rand(()).item(), np.random.rand(), random.random()]


def test_seeds_do_not_depend_on_history():
    first = draws(3, 7)
    for _ in range(3):
        draws(3, 8)
        torch.rand(5)
    assert draws(3, 7) == first
    assert len({step_seed(seed, step) for seed in range(20) for step in range(20)}) == 400
    assert all(0 <= step_seed(seed, 2**32 - 1) < 2**63 for seed in range(20))
    assert all(a != b for a, b in zip(first, draws(3, 8), strict=True))
