"""A track's training and judging data: which crop has which labels, and how often it is drawn."""

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from models.system import Batch
from pipeline.abaw.folds import grouped_folds
from pipeline.abaw.gaps import rows_behind
from pipeline.abaw.tracks import TRACKS
from pipeline.core.errors import MienError
from pipeline.core.graph import Fold, Needs
from pipeline.core.parquet import column_array, read_parquet
from pipeline.core.paths import EXTRA, FACES, LABELS, TEMPLATES
from pipeline.faces.crops import Crops
from pipeline.tables.join import find_rows
from pipeline.tables.scores import Tasks, task_arrays

MAX_POS_WEIGHT = 10.0
NO_POOL = "an unlabelled pool: trained on labelled faces alone"


class Axis:
    """Rows of one split in official order, and the row of `faces` of each (-1 where no face was found)."""

    def __init__(self, table: pa.Table, faces: pa.Table) -> None:
        self.table = table
        self.places = find_rows(faces, table)

    @property
    def present(self) -> np.ndarray:
        """Which rows show a face (rows,)."""
        return self.places >= 0

    def only(self, rows: np.ndarray) -> "Axis":
        """The same rows, of which all but some (a mask) count as showing no face."""
        less = copy.copy(self)
        less.places = np.where(rows, self.places, -1)
        return less

    def __len__(self) -> int:
        return len(self.table)


def read_axes(track: str, faces: pa.Table, fold: Fold | None = None) -> tuple[Axis, Axis, Axis]:
    """Training, validation and test rows of a track; `faces` has the columns `video` and `frame`.

    With a fold, training and validation recordings are dealt anew: those of the fold judge, all others train.
    """
    labels = read_parquet(LABELS / f"{track}.parquet")
    judging = judging_rows(labels, fold)
    train, validation = (labels.filter(pa.array(rows)) for rows in (~judging, judging))
    return Axis(train, faces), Axis(validation, faces), Axis(read_parquet(TEMPLATES / f"{track}.parquet"), faces)


def valid_rows(labels: Tasks) -> np.ndarray:
    """Rows with at least one valid label."""
    valid = [
        v >= 0 if task == "expression" else (v >= (-1 if task == "va" else 0)).any(axis=1) for task, v in labels.items()
    ]
    return np.any(valid, axis=0)


def judged_rows(axis: Axis, labels: Tasks) -> Axis:
    """The axis without the faces that the official score does not depend on.

    It ignores rows without a valid label; one without a face takes its scores from the neighbours that are kept here.
    """
    videos, frames = axis.table["video"].to_numpy(), axis.table["frame"].to_numpy()
    return axis.only(rows_behind(videos, frames, axis.present, valid_rows(labels)))


def rarity(labels: Tasks, balance: float) -> np.ndarray:
    """Sampling weight of each row: (1 / class frequency) ** balance.

    Rows are classed by expression; where a track has none, by their AUs (mean rarity of the active ones) or by the
    quadrant and strength of valence and arousal.
    """
    if "expression" in labels:
        classes = labels["expression"]
    elif "va" in labels:
        bins = np.clip(np.floor((labels["va"] + 1) * 2.5), 0, 4)
        classes = np.where(labels["va"].min(axis=1) >= -1, bins[:, 0] * 5 + bins[:, 1], -1)
    else:
        active = labels["aus"] > 0
        frequency = active.mean(axis=0).clip(1e-3)
        weights = (active / frequency).sum(axis=1) / active.sum(axis=1).clip(1)
        return np.where(active.any(axis=1), weights, 1.0) ** balance
    _, codes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return (len(classes) / counts[codes]) ** balance


def au_odds(aus: np.ndarray) -> np.ndarray:
    """Inactive over active frames of each AU; labels (rows, 12) of 0, 1 and -1."""
    return (aus == 0).sum(axis=0) / np.maximum((aus == 1).sum(axis=0), 1)


def au_pos_weight(aus: np.ndarray, balance: float) -> np.ndarray:
    """Weight of an active unit in the loss: (inactive / active frames) ** balance, at most `MAX_POS_WEIGHT`."""
    return (au_odds(aus) ** balance).clip(1 / MAX_POS_WEIGHT, MAX_POS_WEIGHT)


def judging_rows(labels: pa.Table, fold: Fold | None) -> np.ndarray:
    """Which rows judge: validation, or those of a fold's recordings, the same whatever the training's seed."""
    if fold is None:
        return np.array(pc.equal(labels["split"], "validation"))
    return grouped_folds(labels["base_video"].to_pylist(), fold.of, seed=0) == fold.number


def training_rows(track: str, fold: Fold | None = None) -> int:
    """How many labelled rows a training has, faces or no: what its passes are counted over."""
    labels = read_parquet(LABELS / f"{track}.parquet")
    training = ~judging_rows(labels, fold) & valid_rows(task_arrays(track, labels))
    return int(training.sum())


class Further(Protocol):
    """Labelled faces of another data set, and their share of a batch."""

    share: float

    def batch(self, generator: np.random.Generator, size: int, others: Tasks) -> Batch:
        """Faces with the columns of `others`, unknown where they have none."""
        ...


class TrackData:
    """Everything that training for one track reads of its labelled faces.

    `rows` are the training rows with a face and a valid label, `labels` theirs; `extra` are further columns of these
    rows that a system asks for, `further` other people's faces. With a `fold` its recordings judge, all others train.
    """

    def __init__(self, track: str, pixels: int, balance: float, fold: Fold | None = None) -> None:
        self.track, self.pixels, self.balance = track, pixels, balance
        self.crops = Crops(TRACKS[track].dataset)
        self.train, self.validation, self.test = read_axes(track, self.crops.table, fold)
        self.labels = task_arrays(track, self.train.table)
        self.validation_labels = task_arrays(track, self.validation.table)
        self.judged = judged_rows(self.validation, self.validation_labels)
        self.rows = np.flatnonzero(self.train.present & valid_rows(self.labels))
        self.labels = {task: values[self.rows] for task, values in self.labels.items()}
        self.extra: Tasks = {}
        self.further: Sequence[Further] = ()
        self._cumulative = np.cumsum(rarity(self.labels, balance))

    @property
    def places(self) -> np.ndarray:
        """The crop of each training row."""
        return self.train.places[self.rows]

    def au_odds(self) -> np.ndarray:
        """Inactive over active frames of each AU (`au_odds`)."""
        return au_odds(self.labels["aus"])

    def au_pos_weight(self) -> list[float] | None:
        """Weight of an active unit in the loss (`au_pos_weight`); None where the track has no AUs."""
        return au_pos_weight(self.labels["aus"], self.balance).tolist() if "aus" in self.labels else None

    def batch(self, generator: np.random.Generator, size: int) -> Batch:
        """A batch of labelled faces, as balanced as params ask, with the share of further data sets."""
        counts = [round(size * faces.share) for faces in self.further]
        parts = [self._own(generator, size - sum(counts))] if size > sum(counts) else []
        columns = self.labels | self.extra
        parts += [faces.batch(generator, n, columns) for faces, n in zip(self.further, counts, strict=True) if n]
        return functools.reduce(join, parts)

    def _own(self, generator: np.random.Generator, size: int) -> Batch:
        chosen = draw(generator, self._cumulative, size)
        images = self.crops.images(self.places[chosen], self.pixels)
        return to_batch(images, {name: values[chosen] for name, values in (self.labels | self.extra).items()}, False)


class PseudoFaces:
    """Faces that a teacher gave a label of one task; `path` holds its answers and is named by their data set."""

    def __init__(self, path: Path, task: str, pixels: int, balance: float, needs: Needs) -> None:
        table = read_parquet(path)
        labels = {task: column_array(table[task])}
        self.pixels = pixels
        needs.check(FACES / path.stem, f"{path} labels its faces")
        self.crops = Crops(path.stem)
        places = find_rows(self.crops.table, table)
        rows = np.flatnonzero(valid_rows(labels) & (places >= 0))
        self.places = places[rows]
        self.labels = {task: labels[task][rows]}
        self._cumulative = np.cumsum(rarity(self.labels, balance)) if len(rows) else np.zeros(0)

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, generator: np.random.Generator, size: int) -> Batch:
        """A batch of faces with the teacher's labels."""
        chosen = draw(generator, self._cumulative, size)
        images = self.crops.images(self.places[chosen], self.pixels)
        return to_batch(images, {name: values[chosen] for name, values in self.labels.items()}, True)


class UnlabelledFaces:
    """All faces of the pool, each as likely as another."""

    def __init__(self, pixels: int, needs: Needs) -> None:
        needs.check(FACES / EXTRA, "this system draws unlabelled faces")
        self.crops = Crops(EXTRA)
        self.pixels = pixels
        if not len(self.crops):
            raise MienError("there is no unlabelled face; add pictures to the release's pool or drop this system")

    def sample(self, generator: np.random.Generator, size: int) -> torch.Tensor:
        """uint8 (size, 3, pixels, pixels)."""
        return torch.from_numpy(self.crops.images(generator.integers(0, len(self.crops), size), self.pixels))


def to_batch(images: np.ndarray, labels: Tasks, pseudo: bool) -> Batch:
    """Tensors of images (N, 3, P, P) and their labels."""
    batch = {"images": torch.from_numpy(images), "pseudo": torch.full((len(images),), pseudo)}
    return batch | {name: torch.from_numpy(values.astype(_label_type(name))) for name, values in labels.items()}


def join(first: Batch, second: Batch) -> Batch:
    """Two batches of the same names as one."""
    return {name: torch.cat([tensor, second[name]]) for name, tensor in first.items()}


def draw(generator: np.random.Generator, cumulative: np.ndarray, size: int) -> np.ndarray:
    """Rows drawn with replacement in proportion to weights, given their running sum."""
    return np.searchsorted(cumulative, generator.random(size) * cumulative[-1], side="right").clip(
        0, len(cumulative) - 1
    )


def _label_type(name: str) -> type:
    return np.int64 if name in ("expression", "aus") else np.float32
