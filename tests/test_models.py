"""Networks and losses against plain formulations and values worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.augment import augment, erase, grey, random_affine, recolour, warp
from models.backbone import vit_backbone
from models.losses import au_loss, concordance, expression_loss, va_loss
from models.mae import MAE, unpatchify
from models.masking import gather_tokens, patchify, random_masking
from models.vit import build_vit, freeze, normalise, read_tokens, readout_width, sincos_position_embedding
from models.vit_heads import VitHeads
from pipeline.abaw.metrics import ccc

VIT = {"image_pixels": 16, "patch_pixels": 8, "width": 16, "depth": 2, "heads": 2}
GEOMETRY = ("shift_fraction", "zoom_fraction", "rotate_degrees")
COLOUR = ("brightness", "contrast", "saturation", "grey_probability", "noise", "erase_fraction")
NO_CHANGE = dict.fromkeys(GEOMETRY + COLOUR, 0.0)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def pictures(batch: int, pixels: int = 16) -> Tensor:
    return torch.randint(0, 256, (batch, 3, pixels, pixels), dtype=torch.uint8)


def build_mae(pixels: int = 32, mask_ratio: float = 0.75) -> MAE:
    return MAE(build_vit(**VIT | {"image_pixels": pixels}), 8, 1, 2, mask_ratio)


def build_heads(**changes: Any) -> VitHeads:
    settings: dict[str, Any] = {"expressions": 8, "aus": True, "va": True, "label_smoothing": 0.0, "pseudo_weight": 0.5}
    return VitHeads(vit_backbone(VIT, readout_grid=2), **settings | changes)


def labelled(batch: int) -> dict[str, Tensor]:
    return {
        "images": pictures(batch),
        "expression": torch.arange(batch) % 8,
        "aus": torch.randint(0, 2, (batch, 12)),
        "va": torch.rand(batch, 2) * 2 - 1,
        "pseudo": torch.zeros(batch, dtype=torch.bool),
    }


# --- patches and the masked autoencoder ------------------------------------------------------------------------------


def test_patches_are_inverse_and_in_reading_order():
    images = pictures(2, 24).float()
    patches = patchify(images, 8)
    assert patches.shape == (2, 9, 192)
    assert torch.equal(unpatchify(patches, 8), images)
    assert torch.equal(patches[0, 5], images[0, :, 8:16, 16:24].reshape(-1))  # second row, third column


def test_patch_product_is_the_convolution():
    encoder = build_vit(**VIT)
    images = normalise(pictures(3))
    weight, bias = encoder.patch_embed.proj.weight, encoder.patch_embed.proj.bias
    product = nn.functional.linear(patchify(images, 8), weight.flatten(1), bias)
    torch.testing.assert_close(product, encoder.patch_embed(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("ratio", "kept"), [(0.75, 4), (0.5, 8), (0.9, 1)])
def test_random_masking_counts_and_permutes(ratio, kept):
    indices, order = random_masking(64, 16, ratio, torch.device("cpu"))
    assert indices.shape == (64, kept) and torch.equal(indices, order[:, :kept])
    assert torch.equal(order.sort(dim=1).values, torch.arange(16).expand(64, -1))
    assert len({tuple(row) for row in order.tolist()}) > 60  # each sample its own
    assert set(indices.flatten().tolist()) == set(range(16))  # no place is always hidden


def test_encoding_visible_patches_is_the_plain_formulation():
    mae = build_mae().eval()
    encoder, images = mae.encoder, normalise(pictures(3, 32))
    kept, _ = random_masking(3, 16, 0.75, torch.device("cpu"))
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


def test_reconstruction_shows_visible_patches_as_they_are():
    mae, images = build_mae(mask_ratio=0.5).eval(), pictures(2, 32)
    seen, restored = mae.reconstruct(images)
    given, shown, made = (patchify(x.float(), 8) for x in (images, seen, restored))
    visible = ((shown - given).abs() <= 1).all(dim=-1)
    assert visible.sum(dim=1).tolist() == [8, 8]
    assert ((made - given).abs()[visible] <= 1).all()
    assert (shown[~visible] == 127).all() and not ((made - given).abs()[~visible] <= 1).all()


def untouched(module: nn.Module) -> list[str]:
    return [n for n, p in module.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]


def test_gradients_reach_every_parameter_of_the_mae():
    mae = build_mae()
    mae(pictures(4, 32)).backward()
    assert untouched(mae) == []
    assert mae.encoder.pos_embed.grad is None  # fixed


def test_gradients_reach_every_parameter_of_the_heads():
    system = build_heads()
    sum(system.losses(labelled(8)).values()).backward()
    assert untouched(system) == []


# --- losses ----------------------------------------------------------------------------------------------------------


def test_expression_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [5.0, 5.0]])
    labels, weights = torch.tensor([0, 1, -1]), torch.tensor([1.0, 0.5, 1.0])
    plain = (math.log(2) + 0.5 * math.log(4)) / 1.5
    assert expression_loss(logits, labels, weights).item() == pytest.approx(plain, abs=1e-6)
    second = 0.9 * math.log(4) + 0.1 * math.log(4 / 3)
    smoothed = (math.log(2) + 0.5 * second) / 1.5
    assert expression_loss(logits, labels, weights, smoothing=0.2).item() == pytest.approx(smoothed, abs=1e-6)


def test_au_loss_by_hand():
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    labels = torch.tensor([[1, 0], [-1, 1]])
    weights = torch.tensor([1.0, 0.5])
    plain = (math.log(2) + math.log(4) + 0.5 * math.log(2)) / 2.5
    assert au_loss(logits, labels, weights).item() == pytest.approx(plain, abs=1e-6)
    heavier = (3 * math.log(2) + math.log(4) + 0.5 * 2 * math.log(2)) / 2.5
    assert au_loss(logits, labels, weights, torch.tensor([3.0, 2.0])).item() == pytest.approx(heavier, abs=1e-6)


def test_concordance_is_the_official_one():
    generator = np.random.default_rng(0)
    for _ in range(5):
        x, y = generator.normal(0.2, 0.4, 50), generator.normal(0, 0.3, 50)
        y += generator.uniform(-1, 1) * x
        assert concordance(torch.tensor(x), torch.tensor(y)).item() == pytest.approx(ccc(x, y), abs=1e-9)
    line = torch.linspace(-1, 1, 9)
    assert concordance(line, line).item() == pytest.approx(1)
    assert concordance(line, -line).item() == pytest.approx(-1)
    assert concordance(torch.ones(4), torch.ones(4)).item() == 0
    assert concordance(line[:1], line[:1]).item() == 0


def test_va_loss_by_hand():
    x, y = torch.rand(30, 2), torch.rand(30, 2)
    labels = y.clone()
    labels[::3, 1] = -5
    kept = [i for i in range(30) if i % 3]
    expected = 2 - ccc(x[kept, 0].numpy(), y[kept, 0].numpy()) - ccc(x[kept, 1].numpy(), y[kept, 1].numpy())
    assert va_loss(x, labels).item() == pytest.approx(expected, abs=1e-5)
    assert va_loss(y, y).item() == pytest.approx(0, abs=1e-6)


CASES = {
    "expression": (lambda p, y: expression_loss(p, y, torch.ones(len(y)), 0.1), 8, torch.arange(6) % 8, -1),
    "aus": (lambda p, y: au_loss(p, y, torch.ones(len(y))), 12, torch.randint(0, 2, (6, 12)), -1),
    "va": (va_loss, 2, torch.linspace(-1, 1, 12).reshape(6, 2), -5),
}


@pytest.mark.parametrize("task", CASES)
def test_invalid_rows_contribute_nothing(task):
    loss, size, labels, invalid = CASES[task]
    labels = labels.clone()
    labels[[1, 4]] = invalid
    logits = torch.randn(6, size, requires_grad=True)
    first = loss(logits, labels)
    first.backward()
    rows = logits.grad.abs().sum(dim=1)
    assert (rows[[1, 4]] == 0).all() and (rows[[0, 2, 3, 5]] > 0).all()
    moved = logits.detach().clone()
    moved[[1, 4]] += 10
    assert loss(moved, labels).item() == first.item()
    moved[0] += torch.randn(size)
    assert loss(moved, labels).item() != first.item()


@pytest.mark.parametrize("task", CASES)
def test_a_batch_without_labels_costs_nothing(task):
    loss, size, labels, invalid = CASES[task]
    logits = torch.randn(6, size, requires_grad=True)
    value = loss(logits, torch.full_like(labels, invalid))
    value.backward()
    assert value.item() == 0 and not logits.grad.any()


def test_single_invalid_units_are_left_out():
    logits = torch.randn(3, 12, requires_grad=True)
    labels = torch.randint(0, 2, (3, 12))
    labels[1, 5] = -1
    au_loss(logits, labels, torch.ones(3)).backward()
    assert logits.grad[1, 5] == 0 and (logits.grad != 0).sum() == 35


# --- the heads -------------------------------------------------------------------------------------------------------


def test_pseudo_labels_weigh_less():
    system, batch = build_heads(aus=False, va=False).eval(), labelled(4)
    batch["pseudo"] = torch.tensor([False, False, True, True])
    each = -system(batch["images"])["expression"].log_softmax(-1)[torch.arange(4), batch["expression"]]
    expected = (each[:2].sum() + 0.5 * each[2:].sum()) / 3
    assert system.losses(batch)["expression"].item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "tasks"),
    [
        ({"aus": False, "va": False, "expressions": 6}, {"expression": 6}),
        ({"expressions": 0, "va": False}, {"aus": 12}),
        ({"expressions": 0, "aus": False}, {"va": 2}),
        ({}, {"expression": 8, "aus": 12, "va": 2}),
    ],
)
def test_predictions_have_their_shapes_and_ranges(settings, tasks):
    system = build_heads(**settings).eval()
    scores = system.predict({"images": pictures(5)})
    assert {task: tuple(values.shape) for task, values in scores.items()} == {t: (5, n) for t, n in tasks.items()}
    assert set(system.losses(labelled(4))) == set(tasks)
    if "expression" in scores:
        torch.testing.assert_close(scores["expression"].sum(dim=1), torch.ones(5))
        assert (scores["expression"] > 0).all()
    if "aus" in scores:
        assert ((scores["aus"] > 0) & (scores["aus"] < 1)).all()
    if "va" in scores:
        assert (scores["va"].abs() < 1).all()


def test_predictions_do_not_change_with_the_mirror():
    system, images = build_heads().eval(), pictures(5)
    straight, mirrored = (system.predict({"images": x}) for x in (images, images.flip(-1)))
    for task in straight:
        torch.testing.assert_close(straight[task], mirrored[task])
    assert not torch.allclose(system(images)["aus"], system(images.flip(-1))["aus"])


def test_heads_learn_a_batch_by_heart():
    system, batch = build_heads(), labelled(8)
    optimizer = torch.optim.AdamW(system.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        parts = system.losses(batch)
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
        losses.append({task: value.item() for task, value in parts.items()})
    for task in ("expression", "aus", "va"):
        assert losses[-1][task] < 0.3 * losses[0][task], task


def test_tokens_and_positions_are_not_decayed():
    system, tokens = build_heads(), {f"backbone.network.encoder.{name}" for name in ("cls_token", "pos_embed")}
    assert tokens <= system.no_weight_decay() and tokens <= {n for n, _ in system.named_parameters()}
    mae = build_mae()
    assert mae.no_weight_decay() == {"encoder.cls_token", "mask_token"} <= {n for n, _ in mae.named_parameters()}


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


# --- augmentation ----------------------------------------------------------------------------------------------------


def test_no_change_is_the_image_or_its_mirror():
    images = pictures(32)
    changed, affine = augment(images, 16, **NO_CHANGE)
    straight = [torch.equal(a, b) for a, b in zip(changed, images, strict=True)]
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(changed, images, strict=True)]
    assert all(s or m for s, m in zip(straight, mirrored, strict=True))
    assert 5 < sum(mirrored) < 27
    assert affine.shape == (32, 2, 3) and (affine[:, 0, 0] < 0).tolist() == mirrored


def test_augmentation_follows_the_seed():
    sizes = dict.fromkeys(NO_CHANGE, 0.3) | {"rotate_degrees": 20.0}
    images = pictures(4, 32)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(augment(images, 16, **sizes)[0])
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])
    assert results[0].dtype == torch.uint8 and results[0].shape == (4, 3, 16, 16)


@pytest.mark.parametrize("level", [0, 255])
def test_light_saturates_and_does_not_wrap(level):
    images = torch.full((64, 3, 8, 8), level, dtype=torch.uint8)
    changed, _ = augment(images, 8, **NO_CHANGE | {"brightness": 0.5})
    assert (changed == changed[:, :1, :1, :1]).all()
    values = changed[:, 0, 0, 0]
    assert values.min() >= (0 if level == 0 else 127) and (values == level).float().mean() > 0.25


def warped(images: Tensor, shift: float = 0.0, zoom: float = 0.0, rotate: float = 0.0) -> Tensor:
    """One channel of randomly moved images, float in [0, 1]."""
    affine = random_affine(len(images), shift, zoom, rotate, images.device)
    return warp(images, affine, images.shape[-1])[:, 0]


def test_shift_and_zoom_keep_within_their_size():
    images = torch.zeros(64, 3, 40, 40, dtype=torch.uint8)
    images[:, :, 19:21, 19:21] = 255
    place = warped(images, shift=0.2)
    weight = place / place.sum(dim=(1, 2), keepdim=True)
    axis = torch.arange(40) + 0.5
    centres = torch.stack([(weight.sum(1) * axis).sum(1), (weight.sum(2) * axis).sum(1)], 1)
    assert 6 < (centres - 20).abs().max() <= 8.5
    images[:, :, 10:30, 10:30] = 255
    area = warped(images, zoom=0.25).sum(dim=(1, 2)).sqrt() / 20
    assert 0.7 < area.min() < 0.9 < 1.1 < area.max() < 1.28


def test_rotation_keeps_the_centre_and_turns_the_rest():
    images = torch.zeros(64, 3, 41, 41, dtype=torch.uint8)
    images[:, :, 20, 20] = images[:, :, 20, 36] = 255
    turned = warped(images, rotate=30.0)
    assert (turned[:, 20, 20] > 0.99).all()
    rest = turned.clone()
    rest[:, 18:23, 18:23] = 0
    y, x = torch.meshgrid(torch.arange(41) - 20.0, torch.arange(41) - 20.0, indexing="ij")
    angle = torch.rad2deg(torch.atan2(y, x.abs()))[None].expand_as(rest)[rest > 0.2]
    assert angle.abs().max() <= 33 and angle.min() < -15 and angle.max() > 15


def test_recolour_keeps_what_it_should():
    images = torch.rand(16, 3, 8, 8)
    contrast = recolour(images, 0.0, 0.5, 0.0)
    torch.testing.assert_close(contrast.mean(dim=(1, 2, 3)), images.mean(dim=(1, 2, 3)))
    assert not torch.allclose(contrast, images, atol=0.01)
    saturation = recolour(images, 0.0, 0.0, 0.5)
    torch.testing.assert_close(saturation.mean(dim=1), images.mean(dim=1))
    assert not torch.allclose(saturation, images, atol=0.01)
    torch.testing.assert_close(recolour(images, 0.0, 0.0, 0.0), images)


def test_grey_takes_the_colour_out_of_a_share():
    images = torch.rand(200, 3, 4, 4)
    changed = grey(images, 0.3)
    colourless = (changed == changed[:, :1]).flatten(1).all(dim=1)
    assert 0.2 < colourless.float().mean() < 0.4
    assert torch.equal(changed[~colourless], images[~colourless])
    torch.testing.assert_close(changed.mean(dim=1), images.mean(dim=1))


def test_erase_greys_one_square_in_half_of_the_images():
    erased = erase(torch.ones(200, 3, 50, 50), 0.2)
    assert set(erased.unique().tolist()) <= {0.5, 1.0}
    share = (erased[:, 0] == 0.5).float().mean(dim=(1, 2))
    assert share.max() <= 0.2 + 0.02 and share.max() > 0.1
    assert 0.3 < (share > 0).float().mean() < 0.6
    assert torch.equal(erased[:, 0], erased[:, 2])


def test_gather_tokens():
    x = torch.arange(12).reshape(1, 6, 2)
    assert gather_tokens(x, torch.tensor([[5, 0]])).tolist() == [[[10, 11], [0, 1]]]
