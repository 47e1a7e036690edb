"""A track's training and judging data: which crop has which labels, and how often it is drawn."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from models.system import Batch
from pipeline.base.params import Finetune
from pipeline.base.shards import read_parquet
from pipeline.crops import Crops
from pipeline.layout import EXTRA, LABELS, PSEUDO, TEMPLATES
from pipeline.rows import find_rows
from pipeline.scoring import Tasks, column_array, task_arrays
from pipeline.tracks import DATASET_OF, TASKS_OF

MAX_POS_WEIGHT = 10.0


class Axis:
    """Rows of one split in official order, and the crop of each (-1 where no face was found)."""

    def __init__(self, table: pa.Table, crops: Crops) -> None:
        self.table = table
        self.places = find_rows(crops.table, table)
        self.present = self.places >= 0

    def __len__(self) -> int:
        return len(self.table)


def valid_rows(labels: Tasks) -> np.ndarray:
    """Rows with at least one valid label."""
    valid = [
        v >= 0 if task == "expression" else (v >= (-1 if task == "va" else 0)).any(axis=1) for task, v in labels.items()
    ]
    return np.any(valid, axis=0)


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


class TrackData:
    """Everything that fine-tuning for one track reads.

    `pseudo` are further crops with a teacher's labels (the pool of unlabelled faces), each with its own rarity.
    """

    def __init__(self, track: str, settings: Finetune, pixels: int) -> None:
        self.track, self.settings, self.pixels = track, settings, pixels
        self.crops = Crops(DATASET_OF[track])
        labels = read_parquet(LABELS / f"{track}.parquet")
        self.train = Axis(labels.filter(pc.equal(labels["split"], "train")), self.crops)
        self.validation = Axis(labels.filter(pc.equal(labels["split"], "validation")), self.crops)
        self.test = Axis(read_parquet(TEMPLATES / f"{track}.parquet"), self.crops)
        self.labels = task_arrays(track, self.train.table)
        self.validation_labels = task_arrays(track, self.validation.table)
        self.rows = np.flatnonzero(self.train.present & valid_rows(self.labels))
        self.labels = {task: values[self.rows] for task, values in self.labels.items()}
        self._cumulative = np.cumsum(rarity(self.labels, settings.balance))
        self.pseudo = PseudoFaces(track, settings) if (PSEUDO / track).is_dir() else None

    def au_pos_weight(self) -> list[float] | None:
        """Weight of an active unit in the loss: (inactive / active frames) ** balance, at most `MAX_POS_WEIGHT`."""
        if "aus" not in self.labels:
            return None
        aus = self.labels["aus"]
        active, inactive = (aus == 1).sum(axis=0), (aus == 0).sum(axis=0)
        odds = (inactive / np.maximum(active, 1)) ** self.settings.balance
        return [float(w) for w in odds.clip(1 / MAX_POS_WEIGHT, MAX_POS_WEIGHT)]

    def batch(self, generator: np.random.Generator, size: int) -> Batch:
        """A class-balanced batch; a share of it pseudo-labelled where the track has such faces."""
        extra = round(size * self.settings.pseudo_fraction) if self.pseudo and len(self.pseudo) else 0
        chosen = draw(generator, self._cumulative, size - extra)
        images = self.crops.images(self.train.places[self.rows[chosen]], self.pixels)
        labels = {task: values[chosen] for task, values in self.labels.items()}
        if extra and self.pseudo:
            more_images, more_labels = self.pseudo.sample(generator, extra, self.pixels)
            images = np.concatenate([images, more_images])
            labels = {task: np.concatenate([values, more_labels[task]]) for task, values in labels.items()}
        batch = {"images": torch.from_numpy(images), "pseudo": torch.arange(size) >= size - extra}
        return batch | {task: torch.from_numpy(values.astype(_label_type(task))) for task, values in labels.items()}


class PseudoFaces:
    """Faces that `pseudo_label` gave a label of this track's task."""

    def __init__(self, track: str, settings: Finetune) -> None:
        table = read_parquet(PSEUDO / track / "labels.parquet")
        (task,) = TASKS_OF[track]
        labels = {task: column_array(table[task])}
        self.crops = Crops(EXTRA)
        places = find_rows(self.crops.table, table)
        rows = np.flatnonzero(valid_rows(labels) & (places >= 0))
        self.places = places[rows]
        self.labels = {task: labels[task][rows]}
        self._cumulative = np.cumsum(rarity(self.labels, settings.balance)) if len(rows) else np.zeros(0)

    def __len__(self) -> int:
        return len(self.places)

    def sample(self, generator: np.random.Generator, size: int, pixels: int) -> tuple[np.ndarray, Tasks]:
        """Images (size, 3, pixels, pixels) and their labels."""
        chosen = draw(generator, self._cumulative, size)
        return self.crops.images(self.places[chosen], pixels), {t: v[chosen] for t, v in self.labels.items()}


def draw(generator: np.random.Generator, cumulative: np.ndarray, size: int) -> np.ndarray:
    """Rows drawn with replacement in proportion to weights, given their running sum."""
    return np.searchsorted(cumulative, generator.random(size) * cumulative[-1], side="right").clip(
        0, len(cumulative) - 1
    )


def _label_type(task: str) -> type:
    return np.float32 if task == "va" else np.int64
