"""Who is rendered: head shape, colours, hair, the way the face moves and creases."""

from dataclasses import dataclass

import numpy as np

from demo.generator.atlas import NOISE_BASES, NOISES
from demo.generator.head import Head
from demo.generator.mesh import AGES, GENDERS, RACES, SKIN

SKIN_RGB = np.array([[222, 180, 158], [226, 188, 150], [120, 82, 62]], np.float32) / 255  # by ancestry
HAIR_RGB = np.array([[30, 24, 20], [70, 46, 30], [110, 76, 44], [150, 140, 135], [190, 150, 90]], np.float32) / 255
HAIR_SHARES = (0.45, 0.25, 0.12, 0.1, 0.08)
IRIS_RGB = np.array([[70, 45, 25], [95, 70, 40], [80, 110, 140], [95, 115, 80]], np.float32) / 255
IRIS_SHARES = (0.55, 0.2, 0.15, 0.1)


@dataclass(frozen=True)
class Identity:
    """One person. Colours are linear-ish RGB in 0..1; `points` the neutral head with hair, dm."""

    points: np.ndarray
    race: np.ndarray  # shares of RACES
    female: float
    old: float
    skin: np.ndarray
    lip: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    cloth: np.ndarray
    brow_width: float  # dm
    beard: float
    hairline: float  # dm above the eyes
    bald: bool
    long_hair: bool
    glasses: bool
    crease: float  # depth of expression wrinkles
    noise: dict[str, np.ndarray]  # weights of the atlas's noise bases
    asymmetry: dict[str, float]  # unit -> factor


def sample_identity(head: Head, rng: np.random.Generator) -> Identity:
    """Draw a person: dirichlet ancestry, beta gender and age, sparse shape details."""
    race = rng.dirichlet([0.6, 0.6, 0.6]).astype(np.float32)
    female, old, weight = rng.beta(0.6, 0.6), rng.beta(1, 2.2), rng.normal(0, 0.5)
    points = _shape(head, rng, race, female, old, weight)
    skin = race @ SKIN_RGB * rng.uniform(0.86, 1.1) * (1 + rng.normal(0, 0.03, 3))
    hair = HAIR_RGB[rng.choice(len(HAIR_RGB), p=HAIR_SHARES)]
    if old > 0.65 and rng.random() < 0.6:
        hair = np.array([165, 160, 158]) / 255
    person = Identity(
        points=points,
        race=race,
        female=female,
        old=old,
        skin=skin,
        lip=skin * np.array([0.86, 0.62, 0.62]) * rng.uniform(0.88, 1.08),
        hair=hair,
        iris=IRIS_RGB[rng.choice(len(IRIS_RGB), p=IRIS_SHARES)],
        cloth=rng.uniform(0.08, 0.85, 3),
        brow_width=rng.uniform(0.03, 0.06) * (1.15 - 0.35 * female),
        beard=(rng.random() < 0.4) * (1 - female) * rng.uniform(0.1, 0.7),
        hairline=rng.uniform(0.55, 0.72),
        bald=bool((rng.random() < 0.12) & (female < 0.4)),
        long_hair=bool(rng.random() < 0.15 + 0.75 * female),
        glasses=bool(rng.random() < 0.15),
        crease=float((0.55 + 0.45 * old) * rng.uniform(0.8, 1.2)),
        noise={name: rng.normal(0, 1, NOISE_BASES) for name in NOISES},
        asymmetry={unit: float(rng.normal(1, 0.08)) for unit in head.units},
    )
    return _with_hair(head, person, rng.uniform(0.06, 0.2))


def _shape(
    head: Head, rng: np.random.Generator, race: np.ndarray, female: float, old: float, weight: float
) -> np.ndarray:
    genders, ages = dict(zip(GENDERS, (1 - female, female), strict=True)), dict(zip(AGES, (1 - old, old), strict=True))
    heavy = float(np.clip(weight, -1, 1))
    weights = {"averageweight": 1 - abs(heavy), "maxweight": max(0.0, heavy), "minweight": max(0.0, -heavy)}
    points = head.base.copy()
    for gender, g in genders.items():
        for age, a in ages.items():
            for ancestry, share in zip(RACES, race, strict=True):
                points += np.float32(share * g * a) * head.macro[f"{ancestry}-{gender}-{age}"]
            for name, share in weights.items():
                points += np.float32(share * g * a) * head.macro[f"universal-{gender}-{age}-{name}"]
    details = rng.normal(0, 0.22, len(head.local)).clip(0, 0.7) * (rng.random(len(head.local)) < 0.5)
    return points + np.tensordot(details.astype(np.float32), head.local, 1)


def scalp(person: Identity, place: np.ndarray) -> np.ndarray:
    """Where hair grows: positive (dm) inside the hair region; `place` (n, 3) are rest positions."""
    x, y, z = place.T
    front = y - (person.hairline + 0.04 * np.cos(x * 5) - 0.25 * np.clip(np.abs(x) - 0.3, 0, 1))
    temples = np.minimum(-0.32 - z, y + 0.25)
    nape = np.where(z < -0.75, np.minimum(-0.75 - z, y + (1.5 if person.long_hair else 0.75)), -1)
    return np.maximum(np.maximum(front, temples), nape).astype(np.float32)


def _with_hair(head: Head, person: Identity, thickness: float) -> Identity:
    """Push the scalp outwards by the hair's thickness; ears stay free of short hair."""
    if person.bald:
        return person
    x, y, z = head.rest.T
    cover = np.clip(scalp(person, head.rest) / 0.12, 0, 1) * (head.group == SKIN)
    if not person.long_hair:
        cover *= ~((np.abs(x) > 0.78) & (y < 0.2) & (y > -0.75) & (z > -0.65))
    locks = 0.03 * np.sin(head.rest @ (4 * person.noise["strand"][:3])) + 0.02
    lift = (cover * (thickness + locks).clip(0.02)).astype(np.float32)
    points = person.points + head.normals(person.points) * lift[:, None]
    return Identity(**{**person.__dict__, "points": points})
