"""Which items there are: names after the official grammar, splits, classes. All of it follows from the params."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from demo.generator.expressions import CLASSES
from demo.generator.params import Lsd, Params
from demo.generator.scene import Style

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
EXPRESSIVE = tuple(range(1, len(CLASSES)))
LSD_FOLDERS = ("ANGRER", "DISGUST", "FEAR", "HAPPINESS", "SADNESS", "SURPRISE")  # the official spelling; class 1 to 6
LSD_SHARES = (0.9, 0.75, 0.65, 1.4, 1.5, 0.8)  # train classes relative to the average, the official order of sizes


@dataclass(frozen=True)
class Person:
    """One annotated face of a recording or sequence: its name in the annotations."""

    name: str
    split: Split
    kinds: tuple[int, ...]  # classes in the order shown


@dataclass(frozen=True)
class Recording:
    """A raw video file and who is in it, left to right."""

    number: int
    file: str
    people: tuple[Person, ...]
    absent: bool  # a stretch without a face
    extra_row: bool  # the annotation files hold one row more than the file has frames


@dataclass(frozen=True)
class Still:
    """One image; `kind` None is a random mix of AUs, `face` False an empty scene."""

    file: str
    kind: int | None
    face: bool = True


@dataclass(frozen=True)
class Sitting:
    """Stills of one identity in one style."""

    number: int
    style: Style
    aligned: bool
    stills: tuple[Still, ...]


def rng_of(seed: int, kind: str, number: int) -> np.random.Generator:
    """An item's own random numbers: independent of every other item and of the order of work."""
    return np.random.default_rng([seed, *kind.encode(), number])


def _kinds(rng: np.random.Generator, people: int, episodes: int) -> list[tuple[int, ...]]:
    """Classes a person: every class comes equally often over the people of a split."""
    deck: list[int] = []
    while len(deck) < people * episodes:
        deck += rng.permutation(EXPRESSIVE).tolist()
    return [tuple(deck[i * episodes : (i + 1) * episodes]) for i in range(people)]


def recordings(params: Params) -> list[Recording]:
    """The raw videos. The first two names are each other's prefix; the third file shows two people, one a split."""
    videos = params.videos
    counts = {"train": videos.train, "validation": videos.validation + 1, "test": videos.test}
    episodes = -(-videos.frames // 23)
    kinds = {s: _kinds(rng_of(params.seed, f"kinds-{s}", 0), counts[s], episodes) for s in SPLITS}
    frame = f"{videos.width_pixels}x{videos.height_pixels}"
    pair = f"135-24-{2 * videos.width_pixels}x{videos.height_pixels}"
    found = []
    sizes = (videos.train, videos.validation, videos.test)
    splits = [split for split, size in zip(SPLITS, sizes, strict=True) for _ in range(size)]
    for number, split in enumerate(splits):
        names = {0: "122", 1: f"122-60-{frame}-3"}
        name = names.get(number, _name(number, frame))
        people: tuple[Person, ...] = (Person(name, split, kinds[split].pop()),)
        if number == 2:
            name = pair
            left = Person(f"{pair}_left", "train", people[0].kinds)
            people = (left, Person(f"{pair}_right", "validation", kinds["validation"].pop()))
        last_of_split = number + 1 == len(splits) or splits[number + 1] != split
        file = f"batch2/{name}.avi" if number % 4 == 3 else f"batch1/{name}.mp4"
        found.append(Recording(number, file, people, last_of_split, number == 1))
    return found


def _name(number: int, size: str) -> str:
    patterns = (f"{140 + 7 * number}", f"{9 + 5 * number}-{(30, 24, 60)[number % 3]}-{size}", f"video{41 + number}_1")
    return patterns[number % 3]


def mtl_sequences(params: Params) -> list[Person]:
    """The MTL sequences, train first."""
    found = []
    for base, split in zip((400, 500, 600), SPLITS, strict=True):
        count = getattr(params.mtl, split)
        kinds = _kinds(rng_of(params.seed, f"mtl-{split}", 0), count, 4)
        for i in range(count):
            name = (f"{base + 3 * i}", f"{base + 3 * i}-30-1280x720", f"video{base + i}")[i % 3]
            found.append(Person(name, split, kinds[i]))
    return found


def lsd_sittings(params: Params) -> list[Sitting]:
    """LSD train in the synthetic style, validation and test in the real one."""
    rng = rng_of(params.seed, "lsd-plan", 0)
    lsd = params.lsd
    train = [
        Still(f"training_set_synthetic_images/{LSD_FOLDERS[k]}/{i}.jpg", k + 1)
        for k in range(6)
        for i in range(round(lsd.train_per_class * LSD_SHARES[k]))
    ]
    validation = [
        Still(f"validation_set_real_images/{LSD_FOLDERS[k]}/{i}.jpg", k + 1)
        for k in range(6)
        for i in range(lsd.validation_per_class)
    ]
    test = [Still(f"lsd_test_data/{i}.jpg", k + 1) for i, k in enumerate(rng.integers(0, 6, lsd.test).tolist())]
    found: list[Sitting] = []
    for style, stills in (("synthetic", train), ("real", validation), ("real", test)):
        found += _sit(rng, lsd, style, stills, len(found))  # type: ignore[arg-type]
    return found


def _sit(rng: np.random.Generator, lsd: Lsd, style: Style, stills: list[Still], first: int) -> list[Sitting]:
    order = rng.permutation(len(stills)).tolist()
    groups = [order[i : i + lsd.stills_per_identity] for i in range(0, len(order), lsd.stills_per_identity)]
    return [Sitting(first + g, style, True, tuple(stills[i] for i in group)) for g, group in enumerate(groups)]


def unlabelled_sittings(params: Params) -> list[Sitting]:
    """The unlabelled pool: all classes, random AU mixes, and some scenes without a face."""
    pool = params.unlabelled
    rng = rng_of(params.seed, "pool-plan", 0)
    empty = set(rng.choice(pool.images, min(pool.without_face, pool.images), replace=False).tolist())
    kinds = rng.integers(0, len(CLASSES) + 2, pool.images).tolist()  # two in ten are mixes
    stills = [
        Still(f"{i:05d}.jpg", kind if kind < len(CLASSES) else None, i not in empty) for i, kind in enumerate(kinds)
    ]
    step = pool.stills_per_identity
    return [Sitting(g, "real", False, tuple(stills[i : i + step])) for g, i in enumerate(range(0, len(stills), step))]
