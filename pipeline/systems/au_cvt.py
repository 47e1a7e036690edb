"""AU-CVT for the expressions of a track, with an AU branch. The network: `models/au_cvt.py`.

Its training faces have no AU labels of their own: they come from a teacher, from OpenFace, or from the labelled faces
of the AU track as a further part of each batch.
"""

import csv
from pathlib import Path
from typing import cast

import numpy as np
import torch
from pydantic import Field, model_validator

from models.au_cvt import AuCvt
from models.system import Batch
from pipeline.abaw.tracks import TRACKS
from pipeline.backbones.build import normaliser
from pipeline.backbones.loading import Local, load_weights
from pipeline.core.errors import MienError
from pipeline.core.graph import Needs
from pipeline.core.params import Section
from pipeline.core.parquet import column_array, read_parquet
from pipeline.core.paths import ARTIFACTS, FACES, LABELS, PSEUDO, TEMPLATES
from pipeline.core.weights import declaration
from pipeline.tables.join import find_rows
from pipeline.train.data import TrackData, join
from pipeline.train.fit import Job, Recipe, Train
from pipeline.train.frames import frame_recipe

# OpenFace's intensities but AU45, in the order of AU-CVT's regions
OPENFACE = [f"AU{unit:02d}_r" for unit in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26)]
PRESENT = 0.5  # an intensity above this counts as active (AU-CVT)


class Settings(Section):
    """`systems.au_cvt`.

    `au_labels`: `teacher` (the answers of pseudo_label_aus on the training faces), `real` (the labelled faces of the AU
    track, `real_fraction` of a batch), `none` (the AU branch is not trained), or the path of an OpenFace CSV, of which
    rows below `openface_confidence` are left out.
    """

    image_pixels: int = Field(ge=16)
    channels: list[int] = Field(min_length=1)
    units: list[int] = Field(min_length=1)
    stem_weights: Local | None
    width: int = Field(ge=1)
    heads: int = Field(ge=1)
    blocks_before: int = Field(ge=1)
    blocks_after: int = Field(ge=1)
    au_labels: str
    au_weight: float = Field(ge=0)
    real_fraction: float = Field(gt=0, lt=1)
    openface_confidence: float = Field(ge=0, le=1)
    train: Train

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        if len(self.channels) != len(self.units):
            raise ValueError("channels and units must be as long as each other: one of each a stage")
        if self.width % self.heads or self.image_pixels % 2 ** len(self.channels):
            raise ValueError("width must be a multiple of heads, and image_pixels of 2 ** stages")
        return self


def build(settings: Settings, job: Job) -> AuCvt:
    """The network, its stem filled where params name weights."""
    job.require_expressions_alone("au_cvt")
    own = {"au_labels", "stem_weights", "real_fraction", "openface_confidence", "train"}
    regions = "abaw" if settings.au_labels in ("teacher", "real", "none") else "openface"
    weights = Path(settings.stem_weights) if settings.stem_weights else None
    entry = None if weights is None or weights.is_relative_to(ARTIFACTS) else declaration(weights)
    system = AuCvt(
        classes=len(job.track.classes),
        regions=regions,
        normalise=normaliser(entry.normalisation if entry else None),
        **settings.model_dump(exclude=own),
    )
    if job.pretrained and weights:
        load_weights(system.stem, job.check_own(weights, "systems.au_cvt.stem_weights names it"), "IR-50")
    return system


def recipe(settings: Settings, job: Job) -> Recipe:
    """AU labels of the training faces, or a further share of the batch from the faces of a real AU data set."""
    made, data = frame_recipe(build(settings, job), settings.train, job)
    if settings.au_labels == "none":
        cast(AuCvt, made.module).au_weight = 0.0
        made.without = ("AU labels: its AU branch is not trained",)
        return made
    if settings.au_labels != "real":
        data.extra = {"aus": au_labels(data, settings, job.needs)}
        return made
    real = RealAus(data.pixels, job.needs)
    size = settings.train.optimise.batch
    share = round(size * settings.real_fraction)
    made.batches = lambda generator, step: join(
        real.unlabelled_aus(data.batch(generator, size - share)), real.batch(generator, share)
    )
    return made


# --- where AU labels come from ---------------------------------------------------------------------------------------


def au_labels(data: TrackData, settings: Settings, needs: Needs) -> np.ndarray:
    """AU labels (rows, units) of the training rows, -1 where there is none."""
    if settings.au_labels == "teacher":
        path = PSEUDO / "au" / f"{data.crops.dataset}.parquet"
        return teacher_labels(data, needs.check(path, "systems.au_cvt.au_labels is teacher"))
    path = needs.check(Path(settings.au_labels), "systems.au_cvt.au_labels names it")
    return openface_labels(data, path, settings.openface_confidence)


def teacher_labels(data: TrackData, path: Path) -> np.ndarray:
    """The answers of `pseudo_label_aus` on the training faces."""
    table = read_parquet(path)
    places = find_rows(table, data.train.table.take(data.rows))
    answers = column_array(table["aus"])
    return np.where(places[:, None] >= 0, answers[places], -1)


def openface_labels(data: TrackData, path: Path, confidence: float) -> np.ndarray:
    """Labels from OpenFace's output: its columns, and one named `image` with `<folder>/<file name>` of each picture.

    Rows below `confidence` count as absent. Raises `MienError` naming the line that cannot be read.
    """
    found: dict[str, np.ndarray] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            lacking = {"image", "confidence", *OPENFACE} - set(reader.fieldnames or ())
            if lacking:
                raise MienError(f"{path}: not OpenFace's output with an `image` column: {min(lacking)} is missing")
            for row in reader:
                if float(row["confidence"]) >= confidence:
                    found[row["image"]] = np.array([float(row[name]) > PRESENT for name in OPENFACE], np.int64)
    except (ValueError, TypeError) as error:
        raise MienError(f"{path}, line {reader.line_num}: not a row of numbers ({error})") from None
    except OSError as error:
        raise MienError(f"params.yaml: systems.au_cvt.au_labels: {path}: {error.strerror}") from None
    rows = data.train.table.take(data.rows)
    names = [f"{Path(v).name}/{i}" for v, i in zip(rows["video"].to_pylist(), rows["image"].to_pylist(), strict=True)]
    none = np.full(len(OPENFACE), -1)
    labels = np.stack([found.get(name, none) for name in names])
    if (labels < 0).all():
        raise MienError(f"{path}: names none of the training faces; an example of a name is {names[0]}")
    return labels


class RealAus:
    """The labelled faces of the AU track, as the second part of a batch."""

    def __init__(self, pixels: int, needs: Needs) -> None:
        for path in (FACES / TRACKS["au"].dataset, LABELS / "au.parquet", TEMPLATES / "au.parquet"):
            needs.check(path, "systems.au_cvt.au_labels is real")
        self.data = TrackData("au", pixels, 0.0)

    def batch(self, generator: np.random.Generator, size: int) -> Batch:
        """Faces with AU labels and no expression."""
        return self.data.batch(generator, size) | {"expression": torch.full((size,), -1)}

    def unlabelled_aus(self, batch: Batch) -> Batch:
        """A batch of expressions with its AUs marked as unknown."""
        return batch | {"aus": torch.full((len(batch["images"]), self.data.labels["aus"].shape[1]), -1)}
