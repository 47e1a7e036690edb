"""Augmentation: sizes, seeds, colours, and landmarks that move with what they mark."""

import pytest
import torch
from torch import Tensor

from models.augment import augment, erase, grey, mirrored, move_points, random_affine, recolour, strengthen, warp
from tests.landmarks import LANDMARKS, SWAPPED, dots, places
from tests.models.parts import pictures


def test_landmarks_go_where_the_warp_takes_what_they_mark():
    affine = random_affine(16, 0.1, 0.2, 25.0, torch.device("cpu"))
    turned = mirrored(affine)
    assert 2 < turned.sum() < 14
    moved = move_points(LANDMARKS.expand(16, -1, -1), affine)
    spots = dots(96)
    for number in range(5):
        found = places(warp(spots[number : number + 1].expand(16, -1, -1, -1), affine, 64))
        expected = torch.where(turned[:, None], moved[:, SWAPPED[number]], moved[:, number])
        torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
    assert (moved[:, 0, 0] < moved[:, 1, 0]).all() and (moved[:, 3, 0] < moved[:, 4, 0]).all()
    assert (moved - LANDMARKS).abs().max() > 0.2


def test_a_mirror_swaps_left_and_right():
    mirror = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 1, 0]]])
    assert mirrored(mirror).tolist() == [True, False]
    moved = move_points(LANDMARKS.expand(2, -1, -1), mirror)
    torch.testing.assert_close(moved[0], LANDMARKS[SWAPPED] * torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(moved[1], LANDMARKS)


def test_grey_is_the_mean_of_the_colours():
    images = torch.rand(20, 3, 4, 4)
    mean = (images[:, :1] + images[:, 1:2] + images[:, 2:]) / 3
    assert torch.equal(grey(images, 0.0), images)
    torch.testing.assert_close(grey(images, 1.0), mean.expand_as(images))


def test_strong_views_follow_the_seed():
    images, made = pictures(8, 32), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(strengthen(images, 2, 0.3))
    assert made[0].dtype == torch.uint8 and made[0].shape == images.shape
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert not torch.equal(made[0], images)
    assert torch.equal(strengthen(images, 0, 0.0), images)


def test_strong_views_lose_a_square():
    changed = strengthen(torch.zeros(200, 3, 40, 40, dtype=torch.uint8), 0, 0.5)
    assert set(changed.unique().tolist()) == {0, 128}
    sides = torch.stack([(changed[:, 0] > 0).any(dim=dim).sum(dim=1) for dim in (1, 2)])
    assert sides.max() <= 20 and (sides == 20).any() and (sides.amin(dim=0) > 0).float().mean() > 0.9


GEOMETRY = ("shift_fraction", "zoom_fraction", "rotate_degrees")
COLOUR = ("brightness", "contrast", "saturation", "grey_probability", "noise", "erase_fraction")
NO_CHANGE = dict.fromkeys(GEOMETRY + COLOUR, 0.0)


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
