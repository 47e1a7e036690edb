"""The ViT: positions, readouts, normalisation."""

import math

import pytest
import torch
from torch import nn

from models.vit import build_vit, freeze, normalise, read_tokens, readout_width, sincos_position_embedding
from tests.models.parts import pictures
from tests.models.small_vit import VIT


def test_tokens_are_read_in_reading_order():
    tokens = torch.arange(17.0)[None, :, None]
    assert read_tokens(tokens, 0).tolist() == [[0]]
    assert read_tokens(tokens, 1).tolist() == [[8.5]]
    assert read_tokens(tokens, 2).tolist() == [[3.5, 5.5, 11.5, 13.5]]
    assert read_tokens(tokens, 4).tolist() == [list(range(1, 17))]
    assert [readout_width(3, grid) for grid in (0, 1, 4)] == [3, 3, 48]


def test_position_embedding():
    embedding = sincos_position_embedding(5, 16)[0]
    assert embedding.shape == (26, 16) and not embedding[0].any()
    assert len(torch.unique(embedding[1:], dim=0)) == 25
    row, column = 3, 2  # first quarter: sine of the column, at frequencies 1, 10000^-1/4, ...
    place = embedding[1 + 5 * row + column]
    assert place[0].item() == pytest.approx(math.sin(column), abs=1e-6)
    assert place[5].item() == pytest.approx(math.cos(column * 10000**-0.25), abs=1e-6)
    assert place[8].item() == pytest.approx(math.sin(row), abs=1e-6)
    assert torch.equal(sincos_position_embedding(5, 16, class_token=False)[0], embedding[1:])


def test_a_readout_is_the_cells_of_the_face_or_the_class_token():
    encoder = build_vit(**VIT | {"image_pixels": 32}).eval()
    images = normalise(pictures(2, 32))
    tokens = encoder.forward_features(images)
    cells = tokens[:, 1:].unflatten(1, (4, 4))
    torch.testing.assert_close(read_tokens(tokens, 1), encoder(images), atol=1e-5, rtol=1e-5)
    halves = read_tokens(tokens, 2).view(2, 16, 2, 2)
    torch.testing.assert_close(halves[:, :, 1, 0], cells[:, 2:, :2].mean(dim=(1, 2)), atol=1e-5, rtol=1e-5)
    assert torch.equal(read_tokens(tokens, 0), tokens[:, 0])
    assert all(read_tokens(tokens, grid).shape[1] == readout_width(16, grid) for grid in (0, 1, 2, 4))


def test_normalise_and_freeze():
    assert normalise(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
    frozen = freeze(nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
    assert not frozen.training and not any(p.requires_grad for p in frozen.parameters())
