"""What the recordings of a track look like: sizes, light, pose, labels and a champion's answers, summed a recording.

Of each recording up to `FRAMES` labelled rows are measured, evenly spaced: neighbours look alike, and so all recordings
count about the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.abaw.tracks import TRACKS
from pipeline.core.parquet import column_array, read_parquet
from pipeline.core.paths import FACES, LABELS
from pipeline.faces.crops import Crops, decode_crops
from pipeline.faces.geometry import yaw_and_pitch
from pipeline.tables.join import find_rows
from pipeline.tables.scores import Tasks, decide, task_arrays

FRAMES = 64
BATCH = 512
VA_CELLS = 4  # a side, over the square of valence and arousal
Scorer = Callable[[list[bytes], np.ndarray], Tasks]  # scores (N, ...) of a video's crops (JPEG) and their frames (N,)


@dataclass(frozen=True)
class Measured:
    """`names`: the recordings (R,); `held_out`: which of them are of validation; `sums`: a quantity's sums by its name.

    Of a number (R, 3): how many rows, their sum, their sum of squares. Of kinds (R, V, C): rows of each of C kinds, for
    V variables (one an AU).
    """

    names: np.ndarray
    held_out: np.ndarray
    sums: dict[str, np.ndarray]

    def take(self, chosen: np.ndarray) -> "Measured":
        """Some of the recordings, by a mask or places."""
        sums = {name: values[chosen] for name, values in self.sums.items()}
        return Measured(self.names[chosen], self.held_out[chosen], sums)

    def fewer(self, most: int) -> "Measured":
        """Up to `most` of the recordings, evenly spaced by name."""
        return self.take(np.linspace(0, len(self.names) - 1, min(len(self.names), most)).astype(int))

    def beyond(self, other: "Measured") -> np.ndarray:
        """Mask of the recordings that `other` has not, or has with other faces or labels."""
        places = {name: place for place, name in enumerate(other.names)}
        return np.array([not self._same(row, other, places.get(name)) for row, name in enumerate(self.names)], bool)

    def _same(self, row: int, other: "Measured", place: int | None) -> bool:
        if place is None:
            return False
        names = self.sums.keys() | other.sums.keys()  # what is known of none of a side's recordings has no sums there
        return all(np.array_equal(self._of(name, row), other._of(name, place)) for name in names)

    def _of(self, name: str, row: int) -> np.ndarray:
        """A recording's sums of a quantity; nothing where all are zero, as where there are none."""
        values = self.sums[name][row] if name in self.sums else np.zeros(1)
        return values if values.any() else np.zeros(1)


class Rows:
    """Sampled labelled rows of a track in a project, and their faces; `crop` (rows,) is -1 where there is none."""

    def __init__(self, root: Path, track: str) -> None:
        table = read_parquet(root / LABELS / f"{track}.parquet")
        self.track = track
        chosen = np.arange(len(table)) if track == "lsd" else sample(table["video"].to_numpy())
        self.table = table.take(pa.array(chosen))
        self.groups = self.table["base_video"].to_numpy().astype(str)
        if track == "lsd":  # each picture is a recording of its own
            self.groups = np.char.add(np.char.add(self.groups, "/"), self.table["image"].to_numpy().astype(str))
        self.crops = Crops(TRACKS[track].dataset, root / FACES)
        self.crop = find_rows(self.crops.table, self.table)

    def measured(self) -> Measured:
        """All that can be told without a network."""
        columns: dict[str, np.ndarray] = (
            {"without_face": (self.crop < 0).astype(float)} | self._places() | self._light()
        )
        columns |= {"labels": kinds(task_arrays(self.track, self.table))}
        return self.summed(columns, np.arange(len(self.crop)))

    def answers(self, scorer: Scorer, thresholds: np.ndarray | float, names: np.ndarray) -> Measured:
        """What a champion says of the faces of some recordings, by their names, and how sure it is."""
        rows = np.flatnonzero((self.crop >= 0) & np.isin(self.groups, names))
        parts = [(some, self._scored(scorer, some)) for some in self._by_video(rows)]
        order = np.argsort(np.concatenate([some for some, _ in parts]))
        scores: Tasks = {
            task: np.concatenate([part[task] for _, part in parts])[order] for task in TRACKS[self.track].tasks
        }
        columns = {"predictions": kinds(decide(scores, thresholds))} | confidence(scores)
        return self.summed(columns, rows)

    def _by_video(self, rows: np.ndarray) -> list[np.ndarray]:
        """Rows of each video; of LSD, whose pictures are all of one folder, of each batch."""
        if self.track == "lsd":
            return np.split(rows, range(BATCH, len(rows), BATCH))
        videos = self.table["video"].to_numpy()[rows].astype(str)
        return [rows[videos == video] for video in np.unique(videos)]

    def _scored(self, scorer: Scorer, rows: np.ndarray) -> Tasks:
        frames = np.ones(len(rows)) if self.track == "lsd" else self.table["frame"].to_numpy()[rows]
        return scorer([self.crops.jpeg(int(row)) for row in self.crop[rows]], frames)

    def _places(self) -> dict[str, np.ndarray]:
        """Side of the face's box in pixels, how far the head is turned to either side, and pitch; NaN where unknown."""
        table = self.crops.columns(["box", "landmarks"])
        box, points = (column_array(table[name]).astype(float) for name in ("box", "landmarks"))
        known = points.any(axis=1)
        pose = np.full((len(points), 2), np.nan)
        pose[known] = np.degrees(yaw_and_pitch(points[known].reshape(-1, 5, 2)))
        side = np.sqrt(np.prod((box[:, 2:] - box[:, :2]).clip(0), axis=1))
        side[side == 0] = np.nan
        found = {"face_size": side, "yaw": np.abs(pose[:, 0]), "pitch": pose[:, 1]}
        return {name: self._of_rows(values) for name, values in found.items()}

    def _of_rows(self, values: np.ndarray) -> np.ndarray:
        return np.where(self.crop >= 0, np.append(values, np.nan)[self.crop], np.nan)

    def _light(self) -> dict[str, np.ndarray]:
        """Mean and standard deviation of each crop's grey values, from 0 to 1."""
        light = np.full((len(self.crop), 2), np.nan)
        rows = np.flatnonzero(self.crop >= 0)
        pixels = 56
        for part in np.split(rows, range(BATCH, len(rows), BATCH)):
            grey = decode_crops([self.crops.jpeg(int(row)) for row in self.crop[part]], pixels).mean(axis=1) / 255
            light[part] = np.stack([grey.mean(axis=(1, 2)), grey.std(axis=(1, 2))], axis=1)
        return {"brightness": light[:, 0], "contrast": light[:, 1]}

    def summed(self, columns: dict[str, np.ndarray], rows: np.ndarray) -> Measured:
        """Values of `rows`, by quantity, as sums of each recording; what is known of none is left out."""
        names, codes = np.unique(self.groups[rows], return_inverse=True)
        held_out = np.zeros(len(names), bool)
        held_out[codes[self.table["split"].to_numpy()[rows] == "validation"]] = True
        known = {name: values for name, values in columns.items() if not np.isnan(values).all()}
        sums = {name: _sums(values, codes, len(names)) for name, values in known.items()}
        return Measured(names, held_out, sums)


def _sums(values: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
    if values.ndim == 1:
        known = np.isfinite(values)
        values = np.stack([known, np.where(known, values, 0), np.where(known, values, 0) ** 2], axis=1)
    out = np.zeros((count, *values.shape[1:]))
    np.add.at(out, codes, values)
    return out


def sample(videos: np.ndarray, frames: int = FRAMES) -> np.ndarray:
    """Rows, ascending: up to `frames` of each video, evenly spaced. Which ones depends on no other video."""
    _, codes = np.unique(videos.astype(str), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    return np.sort(np.concatenate([p[np.linspace(0, len(p) - 1, min(len(p), frames)).astype(int)] for p in parts]))


def kinds(tasks: Tasks) -> np.ndarray:
    """Labels or decisions of a track's tasks as counts (rows, V, C); a masked label counts for nothing."""
    parts = []
    if "expression" in tasks:
        parts.append(one_hot(tasks["expression"][:, None], 8))
    if "aus" in tasks:
        parts.append(one_hot(tasks["aus"], 2))
    if "va" in tasks:
        inside = (np.abs(tasks["va"]) <= 1).all(axis=1)
        cell = np.clip((tasks["va"] + 1) / 2 * VA_CELLS, 0, VA_CELLS - 1).astype(int)
        parts.append(one_hot(np.where(inside, cell[:, 0] * VA_CELLS + cell[:, 1], -1)[:, None], VA_CELLS**2))
    width = max(part.shape[2] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, 0), (0, width - part.shape[2]))) for part in parts], axis=1)


def one_hot(codes: np.ndarray, count: int) -> np.ndarray:
    """Codes (rows, V) as counts (rows, V, count); a code below zero gives none."""
    return (codes[..., None] == np.arange(count)).astype(float)


def confidence(scores: Tasks) -> dict[str, np.ndarray]:
    """How sure scores are, from 0 to 1: the likeliest class's probability, AUs' distance from one half. VA has none."""
    sure = []
    if "expression" in scores:
        sure.append(scores["expression"].max(axis=1))
    if "aus" in scores:
        sure.append(np.abs(2 * scores["aus"] - 1).mean(axis=1))
    return {"confidence": np.mean(sure, axis=0)} if sure else {}


def scorer_of(track: str, project: Path) -> tuple[Scorer, np.ndarray | float]:
    """A track's ensemble of the project at `project` as a scorer, and its AU thresholds."""
    from pipeline.core.params import PARAMS, read_section
    from pipeline.predict.members import Faces, Home, load_track, score
    from pipeline.tables.fitted import thresholds_of
    from pipeline.train.fit import Finetune

    model = load_track(track, TRACKS[track].tasks, Home(project, "the champion"))
    batch = read_section("finetune", Finetune, project / PARAMS).evaluate_batch

    def scored(jpegs: list[bytes], frames: np.ndarray) -> Tasks:
        return score(Faces(jpegs, frames, batch), [model])

    return scored, thresholds_of(model.fitted)
