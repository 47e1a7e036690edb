"""Movements that mean what the labels say."""

import numpy as np
import pytest

from demo.generator.expressions import UNITS
from demo.generator.film import align
from demo.generator.render import Actor, Moment, Studio
from demo.generator.scene import Scene, sample_scene


def test_another_seed_gives_other_people(studio: Studio) -> None:
    one, two = (studio.actor(np.random.default_rng(seed)) for seed in (1, 2))
    assert np.abs(one.person.points - two.person.points).max() > 0.05


@pytest.fixture(scope="module")
def portrait(studio: Studio) -> tuple[Actor, Scene]:
    rng = np.random.default_rng(11)
    return studio.actor(rng), sample_scene(rng, "synthetic", (160, 160), (0.7, 0.72))


def shoot(studio: Studio, portrait: tuple[Actor, Scene], aus: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
    actor, scene = portrait
    return align(*studio.render(actor, scene, Moment(aus), np.random.default_rng(0)))


def test_au12_widens_the_mouth(studio: Studio, portrait: tuple[Actor, Scene]) -> None:
    actor, scene = portrait
    widths = []
    for intensity in (0.0, 0.5, 1.0):
        landmarks = studio.render(actor, scene, Moment({12: intensity}), np.random.default_rng(0))[1]
        widths.append(float(np.linalg.norm(landmarks[4] - landmarks[3])))
    assert widths[0] * 1.04 < widths[1] < widths[2]


def brow_row(image: np.ndarray) -> float:
    """Mean row of the darkest pixels in the forehead-to-lid region above the image-left eye (aligned crop)."""
    patch = image[26:48, 26:50].mean(2)
    dark = patch < np.quantile(patch, 0.25)
    return float(np.nonzero(dark)[0].mean())


def test_au4_lowers_the_brows_in_the_image(studio: Studio, portrait: tuple[Actor, Scene]) -> None:
    assert brow_row(shoot(studio, portrait, {4: 1.0})[0]) > brow_row(shoot(studio, portrait, {})[0]) + 1
    assert brow_row(shoot(studio, portrait, {1: 1.0, 2: 1.0})[0]) < brow_row(shoot(studio, portrait, {})[0]) - 1


@pytest.mark.parametrize("au", sorted(UNITS))
def test_every_au_is_visible(studio: Studio, portrait: tuple[Actor, Scene], au: int) -> None:
    still, moved = (shoot(studio, portrait, aus)[0].astype(float) for aus in ({}, {au: 1.0}))
    assert np.abs(moved - still)[20:105, 15:97].mean() > 1.0  # grey levels; without noise in this style
