"""The masked autoencoder against plain formulations."""

import math

import pytest
import torch
from torch import nn

from models.masking import patchify, random_masking
from models.vit import build_vit, normalise
from tests.models.parts import pictures
from tests.models.small_vit import VIT, build_mae, untouched


def test_patch_product_is_the_convolution():
    encoder = build_vit(**VIT)
    images = normalise(pictures(3))
    weight, bias = encoder.patch_embed.proj.weight, encoder.patch_embed.proj.bias
    product = nn.functional.linear(patchify(images, 8), weight.flatten(1), bias)
    torch.testing.assert_close(product, encoder.patch_embed(images), atol=1e-5, rtol=1e-5)


def test_encoding_visible_patches_is_the_plain_formulation():
    mae = build_mae().eval()
    encoder, images = mae.encoder, normalise(pictures(3, 32))
    kept, _ = random_masking(3, 16, 0.75, torch.device("cpu"))
    assert encoder.pos_embed is not None and encoder.cls_token is not None
    tokens = encoder.patch_embed(images) + encoder.pos_embed[:, 1:]
    visible = torch.stack([sample[indices] for sample, indices in zip(tokens, kept, strict=True)])
    first = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(3, -1, -1)
    plain = encoder.norm(encoder.blocks(torch.cat([first, visible], dim=1)))
    torch.testing.assert_close(mae.forward_encoder(patchify(images, 8), kept), plain, atol=1e-5, rtol=1e-5)


def test_encoding_every_patch_is_timm_own_forward():
    mae = build_mae().eval()
    images = normalise(pictures(2, 32))
    every = torch.arange(16).expand(2, -1)
    expected = mae.encoder.forward_features(images)
    torch.testing.assert_close(mae.forward_encoder(patchify(images, 8), every), expected, atol=1e-5, rtol=1e-5)


def test_decoder_puts_tokens_in_their_places():
    """The prediction of a patch may not depend on the order in which patches were drawn."""
    mae = build_mae().eval()
    latent = torch.randn(1, 5, 16)
    order = torch.randperm(16)[None]
    swapped = order.clone()
    swapped[0, [0, 3]] = order[0, [3, 0]]
    other = latent.clone()
    other[0, [1, 4]] = latent[0, [4, 1]]
    torch.testing.assert_close(mae.forward_decoder(latent, order), mae.forward_decoder(other, swapped))
    assert not torch.allclose(mae.forward_decoder(latent, order), mae.forward_decoder(latent, swapped), atol=1e-4)


def test_loss_by_hand_and_only_hidden_patches_matter():
    mae = build_mae()
    patches = torch.tensor([[[7.0, 7.0, 7.0], [1.0, 2.0, 3.0], [0.0, 0.0, 6.0]]])
    predicted = torch.tensor([[[9.0, 9.0, 9.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]])
    # deviation 1: targets -1, 0, 1; errors 1, 0, 1
    assert mae.forward_loss(patches, predicted, torch.tensor([[1]])).item() == pytest.approx(2 / 3, abs=1e-5)
    # mean 2, deviation sqrt(12): targets -1/sqrt 3 twice and 2/sqrt 3
    second = ((1 + 1 / math.sqrt(3)) ** 2 * 2 + (1 - 2 / math.sqrt(3)) ** 2) / 3
    both = mae.forward_loss(patches, predicted, torch.tensor([[2, 1]])).item()
    assert both == pytest.approx((2 / 3 + second) / 2, abs=1e-5)
    changed = predicted.clone()
    changed[0, 0] = 100.0  # visible
    assert mae.forward_loss(patches, changed, torch.tensor([[2, 1]])).item() == both


def test_reconstruction_shows_visible_patches_as_they_are():
    mae, images = build_mae(mask_ratio=0.5).eval(), pictures(2, 32)
    seen, restored = mae.reconstruct(images)
    given, shown, made = (patchify(x.float(), 8) for x in (images, seen, restored))
    visible = ((shown - given).abs() <= 1).all(dim=-1)
    assert visible.sum(dim=1).tolist() == [8, 8]
    assert ((made - given).abs()[visible] <= 1).all()
    assert (shown[~visible] == 127).all() and not ((made - given).abs()[~visible] <= 1).all()


def test_gradients_reach_every_parameter_of_the_mae():
    mae = build_mae()
    mae(pictures(4, 32)).backward()
    assert untouched(mae) == []
    assert mae.encoder.pos_embed is not None and mae.encoder.pos_embed.grad is None  # fixed
