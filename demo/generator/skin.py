"""A person's texture sheet: skin, brows, beard, hair and clothes painted at their places on the average head."""

import numpy as np

from demo.generator.atlas import Atlas
from demo.generator.identity import Identity, scalp

BROW_HEIGHT = 0.19  # dm above the eyes


def paint(atlas: Atlas, person: Identity) -> np.ndarray:
    """The sheet (HEIGHT, WIDTH, 4) float32: RGB albedo, and the share of hair."""
    grain = {name: atlas.mixed_noise(name, weights)[:, None] for name, weights in person.noise.items()}
    rgb = person.skin * (1 + 0.05 * grain["blotch"] + 0.03 * grain["mottle"] + 0.025 * grain["pore"])
    rgb = rgb * (1 - _blush(atlas, person))
    rgb = _over(rgb, person.hair * 0.8, _brows(atlas, person, grain["brow"]))
    rgb = _over(rgb, person.hair * 0.7, _beard(atlas, person, grain["beard"]))
    hair = _hair(atlas, person, grain["strand"])
    rgb = _over(rgb, person.hair * (0.8 + 0.45 * grain["strand"]).clip(0.3), hair)
    rgb = _over(rgb, person.cloth, _cloth(atlas))
    rest = np.append(person.hair, 1.0)
    return atlas.sheet(np.concatenate([rgb, hair], 1).astype(np.float32), rest)


def _over(below: np.ndarray, colour: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """A colour over another, on the texels that it covers; the rest of `below` stays as it is."""
    on = np.flatnonzero(cover)
    share = cover[on]
    below[on] = below[on] * (1 - share) + (colour[on] if colour.ndim > 1 else colour) * share
    return below


def _blush(atlas: Atlas, person: Identity) -> np.ndarray:
    x, y, _ = atlas.place.T
    cheeks = np.exp(-(((np.abs(x) - 0.38) / 0.18) ** 2 + ((y + 0.38) / 0.17) ** 2))
    nose = 0.7 * np.exp(-((x / 0.13) ** 2 + ((y + 0.36) / 0.1) ** 2))
    strength = 0.16 * np.clip(person.race[0] + 0.4 * person.race[1], 0, 1)
    return strength * (cheeks + nose)[:, None] * np.array([0.1, 1, 0.9])


def _brows(atlas: Atlas, person: Identity, grain: np.ndarray) -> np.ndarray:
    x, y, z = atlas.place.T
    side = np.abs(x)
    along = np.clip((side - 0.12) / 0.44, 0, 1)
    centre = BROW_HEIGHT + 0.055 * np.sin(along * 2.7) - 0.03 * along
    across = np.exp(-(((y - centre) / (person.brow_width * (1.15 - 0.6 * along))) ** 4))
    ends = np.clip((side - 0.085) / 0.05, 0, 1) * np.clip((0.58 - side) / 0.08, 0, 1)
    return 0.92 * np.clip((across * ends * (z > -0.25))[:, None] * (0.75 + 0.35 * grain), 0, 1)


def _beard(atlas: Atlas, person: Identity, grain: np.ndarray) -> np.ndarray:
    x, y, z = atlas.place.T
    jaw = -0.62 - 0.25 * np.exp(-((x / 0.2) ** 2)) - y + 0.35 * np.clip(np.abs(x) - 0.3, 0, 1)
    chin = np.clip(jaw / 0.12, 0, 1) * np.clip((z + 0.62) / 0.2, 0, 1) * np.clip((y + 1.4) / 0.2, 0, 1)
    moustache = 0.9 * np.exp(-(((y + 0.55) / 0.05) ** 2) - (x / 0.22) ** 4)
    skin = 1 - np.clip(atlas.masks["lips"], 0, 1)
    return (np.maximum(chin, moustache) * skin)[:, None] * person.beard * (0.8 + 0.5 * grain).clip(0, 1.2)


def _hair(atlas: Atlas, person: Identity, grain: np.ndarray) -> np.ndarray:
    if person.bald:
        return np.zeros((len(atlas.place), 1), np.float32)
    cover = np.clip((scalp(person, atlas.place)[:, None] + 0.03 * grain) / 0.05, 0, 1)
    if not person.long_hair:
        cover = cover * (1 - np.clip(1.5 * atlas.masks["ears"], 0, 1))[:, None]
    return cover


def _cloth(atlas: Atlas) -> np.ndarray:
    x, y, z = atlas.place.T
    collar = -1.78 - 0.15 * np.cos(2 * x) * (z > -1)
    return np.clip((collar - y) / 0.03, 0, 1)[:, None]
