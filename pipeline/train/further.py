"""Other people's labelled faces as a part of each batch of a track."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.system import Batch
from pipeline.abaw.tracks import EXPRESSIONS, INVALID_CLASS, Track
from pipeline.core.errors import MienError
from pipeline.core.graph import Needs
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import EXTERNAL
from pipeline.faces.crops import Crops
from pipeline.tables.join import find_rows
from pipeline.tables.scores import Tasks, task_arrays
from pipeline.train.data import draw, rarity, to_batch, valid_rows


class FurtherFaces:
    """The training faces of an external set that have labels of a track's tasks, in the track's classes.

    `share` is their part of a batch. Other tasks' labels are not read: the rules of EXPR, AU and VA forbid them.
    """

    def __init__(self, name: str, share: float, track: Track, pixels: int, balance: float, needs: Needs) -> None:
        folder = needs.check(EXTERNAL / name, "its further faces are of it")
        self.share, self.pixels = share, pixels
        self.crops = Crops("faces", folder)
        table = read_parquet(folder / "labels.parquet")
        labels = task_arrays(track.name, table)
        if "expression" in labels:
            labels["expression"] = in_classes(labels["expression"], track.classes)
        places = find_rows(self.crops.table, table)
        training = np.array([split == "train" for split in table["split"].to_pylist()], bool)
        rows = np.flatnonzero(valid_rows(labels) & (places >= 0) & training)
        if not len(rows):
            raise MienError(
                f"params.yaml: {needs.where}: {name} has no training face with a label of {track.name.upper()}"
            )
        self.places = places[rows]
        self.labels = {task: values[rows] for task, values in labels.items()}
        self._cumulative = np.cumsum(rarity(self.labels, balance))

    def batch(self, generator: np.random.Generator, size: int, others: Tasks) -> Batch:
        """Faces with their labels; `others` are the columns of the track's own faces, unknown for these."""
        chosen = draw(generator, self._cumulative, size)
        unknown = {name: _unknown(values, size) for name, values in others.items() if name not in self.labels}
        images = self.crops.images(self.places[chosen], self.pixels)
        return to_batch(images, unknown | {name: values[chosen] for name, values in self.labels.items()}, False)


def further_faces(
    further: Mapping[str, float], track: Track, pixels: int, balance: float, needs: Needs
) -> Sequence[FurtherFaces]:
    """All external sets of a training's line."""
    return [FurtherFaces(name, share, track, pixels, balance, needs) for name, share in further.items()]


def in_classes(expressions: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """ABAW's eight expressions as indices of a track's classes; -1 for those that it has not."""
    index = {name: number for number, name in enumerate(classes)}
    table = np.array([*(index.get(name, INVALID_CLASS) for name in EXPRESSIONS), INVALID_CLASS])
    return table[expressions]


def _unknown(values: np.ndarray, size: int) -> np.ndarray:
    """Rows that say nothing: NaN for an appearance target, -1 for a label."""
    nothing = np.nan if np.issubdtype(values.dtype, np.floating) else INVALID_CLASS
    return np.full((size, *values.shape[1:]), nothing, values.dtype)
