"""Patches and which of them are hidden."""

import pytest
import torch

from models.mae import unpatchify
from models.masking import gather_tokens, patchify, random_masking
from tests.models.parts import pictures


def test_patches_are_inverse_and_in_reading_order():
    images = pictures(2, 24).float()
    patches = patchify(images, 8)
    assert patches.shape == (2, 9, 192)
    assert torch.equal(unpatchify(patches, 8), images)
    assert torch.equal(patches[0, 5], images[0, :, 8:16, 16:24].reshape(-1))  # second row, third column


@pytest.mark.parametrize(("ratio", "kept"), [(0.75, 4), (0.5, 8), (0.9, 1)])
def test_random_masking_counts_and_permutes(ratio, kept):
    indices, order = random_masking(64, 16, ratio, torch.device("cpu"))
    assert indices.shape == (64, kept) and torch.equal(indices, order[:, :kept])
    assert torch.equal(order.sort(dim=1).values, torch.arange(16).expand(64, -1))
    assert len({tuple(row) for row in order.tolist()}) > 60  # each sample its own
    assert set(indices.flatten().tolist()) == set(range(16))  # no place is always hidden


def test_gather_tokens():
    x = torch.arange(12).reshape(1, 6, 2)
    assert gather_tokens(x, torch.tensor([[5, 0]])).tolist() == [[[10, 11], [0, 1]]]
