"""AU labels for training faces that have none of their own: a teacher's, OpenFace's, or another data set's faces."""

import csv
from pathlib import Path

import numpy as np
import torch

from models.system import Batch
from pipeline.base.params import AuCvtSystem
from pipeline.base.shards import read_parquet
from pipeline.errors import MienError
from pipeline.layout import PSEUDO
from pipeline.rows import find_rows
from pipeline.scoring import column_array
from pipeline.train.data import TrackData

# OpenFace's intensities but AU45, in the order of AU-CVT's regions
OPENFACE = [f"AU{unit:02d}_r" for unit in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26)]
PRESENT = 0.5  # an intensity above this counts as active (AU-CVT)


def au_labels(data: TrackData, settings: AuCvtSystem, needs: Path | None) -> np.ndarray:
    """AU labels (rows, units) of the training rows, -1 where there is none."""
    if settings.au_labels == "teacher":
        if needs is None or not needs.is_relative_to(PSEUDO):
            raise MienError(
                "dvc.yaml: au_cvt needs the pseudo-labels of its faces, artifacts/pseudo/au/<dataset>.parquet"
            )
        return teacher_labels(data, needs)
    return openface_labels(data, Path(settings.au_labels), settings.openface_confidence)


def teacher_labels(data: TrackData, path: Path) -> np.ndarray:
    """The answers of `pseudo_label` on the training faces."""
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
        raise MienError(f"{path}:{reader.line_num}: not a row of numbers ({error})") from None
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

    def __init__(self, pixels: int) -> None:
        self.data = TrackData("au", pixels, 0.0)

    def batch(self, generator: np.random.Generator, size: int) -> Batch:
        """Faces with AU labels and no expression."""
        return self.data.batch(generator, size) | {"expression": torch.full((size,), -1)}

    def unlabelled_aus(self, batch: Batch) -> Batch:
        """A batch of expressions with its AUs marked as unknown."""
        return batch | {"aus": torch.full((len(batch["images"]), len(self.data.au_odds())), -1)}
