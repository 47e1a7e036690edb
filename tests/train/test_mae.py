"""The order of crops in pre-training."""

import numpy as np
import pytest

from pipeline.train import mae
from pipeline.train.mae import epoch_indices


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (7, 7), (5, 12), (9, 1), (1, 3)])
def test_every_crop_is_seen_once_a_pass(size, batch):
    steps = 3 * size
    stream = np.concatenate([epoch_indices(size, batch, 0, step) for step in range(steps)])
    assert len(stream) == steps * batch
    passes = stream[: len(stream) // size * size].reshape(-1, size)
    assert (np.sort(passes, axis=1) == np.arange(size)).all()
    if size > 4:
        assert len({tuple(order) for order in passes}) > 1  # shuffled anew
    assert (
        not np.array_equal(stream, np.concatenate([epoch_indices(size, batch, 1, s) for s in range(steps)]))
        or size == 1
    )


def test_an_epoch_is_shuffled_once(monkeypatch):
    """Of two million crops a permutation takes 100 ms: not at every step."""
    drawn = []
    default = np.random.default_rng

    def counted(key):
        drawn.append(key)
        return default(key)

    monkeypatch.setattr(np.random, "default_rng", counted)
    mae._order.cache_clear()
    for step in range(50):
        epoch_indices(1000, 50, 7, step)
    assert drawn == [[7, 0], [7, 1], [7, 2]]
