"""A temporal encoder over windows of cached features, one video at a time: for any track, and the feedback system's.

The network: `models/temporal.py`. As a system its line names the features in `needs`, one folder a backbone
(`artifacts/features/<backbone>/<data set>`); several are joined by video and frame. For the feedback system it is phase
two, over the student's features (`stages/finetune_temporal.py`).
"""

from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field, model_validator

from models.system import Batch
from models.temporal import TemporalEncoder
from pipeline.abaw.tracks import TRACKS
from pipeline.backbones.device import device
from pipeline.core.errors import MienError
from pipeline.core.graph import Fold, feature_folder
from pipeline.core.params import Section
from pipeline.core.paths import FEATURES
from pipeline.tables.features import Features
from pipeline.tables.joined import JoinedFeatures
from pipeline.tables.scores import Tasks, task_arrays
from pipeline.train.data import Axis, au_pos_weight, draw, rarity, read_axes, valid_rows
from pipeline.train.fit import Job, Recipe, Train

INVALID = {"expression": -1, "aus": -1, "va": -5}  # the label of a frame beyond the end of its video


class Temporal(Section):
    """An encoder over cached features; as `systems.feedback.temporal` it has the published form by default.

    `passes` of a training that `finetune` runs count frames, of which a window has many: ten passes over the frames are
    10 / `window_frames`. `finetune_temporal` counts windows.
    """

    window_frames: int = Field(ge=2)
    stride_frames: int = Field(ge=1)
    width: int = Field(ge=2, multiple_of=2)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    feedforward: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    positions: bool = True
    tcn_layers: int = Field(default=0, ge=0)
    standardise: bool = False
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    train: Train

    @model_validator(mode="after")
    def _overlap(self) -> "Temporal":
        if self.stride_frames > self.window_frames:
            raise ValueError("stride_frames must not exceed window_frames, or frames between windows are never seen")
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self


Settings = Temporal  # `systems.temporal`: the encoder for any track with recordings


def outputs_of(track: str) -> dict[str, int]:
    """How many logits each task of a track has."""
    sizes = {"expression": len(TRACKS[track].classes), "aus": 12, "va": 2}
    return {task: sizes[task] for task in TRACKS[track].tasks}


def build_encoder(settings: Temporal, features: int, track: str) -> TemporalEncoder:
    """The temporal encoder over features of the given length; its start comes from torch's global generator."""
    sizes = settings.model_dump(exclude={"stride_frames", "train"})
    return TemporalEncoder(features, outputs=outputs_of(track), **sizes)


def videos_of(axis: pa.Table) -> list[np.ndarray]:
    """Rows of each video in the order of its frames, the first row of each: MTL's lists hold some twice."""
    if not len(axis):
        return []
    videos, frames = _video_codes(axis), axis["frame"].to_numpy()
    order = np.lexsort((frames, videos))
    starts = np.diff(videos[order], prepend=-1) != 0
    kept = order[starts | (np.diff(frames[order], prepend=-1) != 0)]
    return np.split(kept, np.flatnonzero(np.diff(videos[kept])) + 1)


def first_rows(axis: pa.Table) -> np.ndarray:
    """Of each row the first that has its video and frame: itself, but where a list holds one twice."""
    pairs = np.stack([_video_codes(axis), axis["frame"].to_numpy()], axis=1)
    _, first, inverse = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    return first[inverse.ravel()]


def _video_codes(axis: pa.Table) -> np.ndarray:
    return np.unique(axis["video"].to_numpy(zero_copy_only=False), return_inverse=True)[1]


def feature_folders(job: Job) -> list[Path]:
    """The folders of features that a line names, one a backbone; `MienError` where there is none, or no recording."""
    if job.track.name == "lsd":
        raise MienError(f"temporal looks at recordings; {job.track.name} has pictures alone", exit_code=2)
    if job.further:
        raise MienError(f"params.yaml: {job.needs.where}: temporal takes no further faces", exit_code=2)
    dataset = job.track.dataset
    found = [path for path in job.needs.paths if (named := feature_folder(path)) and named.dataset == dataset]
    if not found:
        wanted = FEATURES / "BACKBONE" / dataset
        raise MienError(f"params.yaml: {job.needs.where}: add {wanted} to needs: the features that temporal reads")
    return found


class SequenceData:
    """Features, labels and axes of a track; features are read when a window asks for them."""

    def __init__(
        self, track: str, settings: Temporal, features: Features | JoinedFeatures, fold: Fold | None = None
    ) -> None:
        self.track, self.settings = track, settings
        self.features = features
        self.train, self.validation, self.test = read_axes(track, features.table, fold)
        self.validation_labels = task_arrays(track, self.validation.table)
        self.judged = self.validation  # a frame without a label is its neighbours' context
        self.labels = {task: _typed(task, values) for task, values in task_arrays(track, self.train.table).items()}
        self._videos = videos_of(self.train.table)
        self._index()

    def _index(self) -> None:
        """Where each usable training frame stands: its video and its place there."""
        lengths = [len(rows) for rows in self._videos]
        spots = np.stack([np.repeat(np.arange(len(lengths)), lengths), np.concatenate([*map(np.arange, lengths)])], 1)
        rows = np.concatenate(self._videos)
        usable = self.train.present[rows] & valid_rows(self.labels)[rows]
        self._spots = spots[usable]
        self._used = {task: values[rows][usable] for task, values in self.labels.items()}
        self._cumulative = np.cumsum(rarity(self._used, self.settings.train.balance))

    @property
    def width(self) -> int:
        """Length of a feature."""
        return self.features.width

    def au_pos_weight(self) -> torch.Tensor:
        """Weight of an active unit in the loss, as frame-wise systems have it."""
        weights = au_pos_weight(self._used["aus"], self.settings.train.balance)
        return torch.from_numpy(weights.astype(np.float32))

    def read(self, axis: Axis, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (N, D), zero where no face was found, and which frames have one (N,)."""
        present = axis.present[rows]
        found = np.zeros((len(rows), self.width), np.float32)
        found[present] = self.features.rows(axis.places[rows][present])
        return torch.from_numpy(found), torch.from_numpy(present)

    def batch(self, generator: np.random.Generator, size: int) -> Batch:
        """Windows around frames drawn by their class's rarity; what lies beyond a video is not present."""
        window = self.settings.window_frames
        parts = []
        for video, place in self._spots[draw(generator, self._cumulative, size)]:
            rows = self._videos[video]
            first = int(generator.integers(place - window + 1, place + 1))
            first = int(np.clip(first, 0, max(0, len(rows) - window)))
            parts.append(self._window(rows[first : first + window], window))
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    def _window(self, rows: np.ndarray, length: int) -> Batch:
        features, present = self.read(self.train, rows)
        missing = length - len(rows)
        made = {
            "features": torch.nn.functional.pad(features, (0, 0, 0, missing)),
            "present": torch.nn.functional.pad(present, (0, missing)),
        }
        for task, values in self.labels.items():
            ends = (0, 0) * (values.ndim - 1) + (0, missing)
            made[task] = torch.nn.functional.pad(torch.from_numpy(values[rows]), ends, value=INVALID[task])
        return made

    def predict(self, system: TemporalEncoder, axis: Axis) -> Tasks:
        """Scores of every row with a face by task, NaN elsewhere."""
        scores = {task: np.full((len(axis), size), np.nan, np.float32) for task, size in system.outputs.items()}
        for rows in videos_of(axis.table):
            features, present = self.read(axis, rows)
            found = system.predict_video(features.to(device()), present.to(device()), self.settings.stride_frames)
            for task, values in found.items():
                scores[task][rows[present.numpy()]] = values.cpu().numpy()[present.numpy()]
        first = first_rows(axis.table)
        return {task: values[first] for task, values in scores.items()}


def _typed(task: str, values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32 if task == "va" else np.int64)


def temporal_recipe(data: SequenceData) -> Recipe:
    """The temporal encoder with its windows."""
    train = data.settings.train
    module = build_encoder(data.settings, data.width, data.track)
    if "aus" in data.labels:
        module.au_pos_weight = data.au_pos_weight()
    return Recipe(
        module=module,
        data=data,
        train=train,
        batches=lambda generator, step: data.batch(generator, train.optimise.batch),
        prepare=lambda batch: batch,
        scores=lambda module, axis: data.predict(cast(TemporalEncoder, module), axis),
    )


def build(settings: Settings, job: Job) -> TemporalEncoder:
    """The network for the job's track, over the features that its line names."""
    return build_encoder(settings, sum(Features(folder).width for folder in feature_folders(job)), job.track.name)


def recipe(settings: Settings, job: Job) -> Recipe:
    """The temporal encoder over the features that the line names, for all tasks of the track."""
    features = JoinedFeatures([Features(folder) for folder in feature_folders(job)])
    return temporal_recipe(SequenceData(job.track.name, settings, features, job.fold))
