"""Phase two of the feedback system: a temporal encoder over windows of cached features, one video at a time.

The network: `models/temporal.py`.
"""

from typing import cast

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field, model_validator

from models.system import Batch
from models.temporal import TemporalEncoder
from pipeline.abaw.tracks import TRACKS
from pipeline.backbones.device import device
from pipeline.core.params import Section
from pipeline.tables.features import Features
from pipeline.tables.scores import Tasks, task_arrays
from pipeline.train.data import Axis, draw, rarity, read_axes
from pipeline.train.fit import Recipe, Train


class Temporal(Section):
    """`systems.feedback.temporal`: the encoder over cached features."""

    window_frames: int = Field(ge=2)
    stride_frames: int = Field(ge=1)
    width: int = Field(ge=2, multiple_of=2)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    feedforward: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    train: Train

    @model_validator(mode="after")
    def _overlap(self) -> "Temporal":
        if self.stride_frames > self.window_frames:
            raise ValueError("stride_frames must not exceed window_frames, or frames between windows are never seen")
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self


def build_encoder(settings: Temporal, features: int, classes: int) -> TemporalEncoder:
    """The temporal encoder over features of the given length; its start comes from torch's global generator."""
    return TemporalEncoder(features, classes=classes, **settings.model_dump(exclude={"stride_frames", "train"}))


def videos_of(axis: pa.Table) -> list[np.ndarray]:
    """Rows of each video in the order of its frames."""
    videos, frames = axis["video"].to_numpy(zero_copy_only=False), axis["frame"].to_numpy()
    order = np.lexsort((frames, videos))
    ends = np.flatnonzero(videos[order][1:] != videos[order][:-1]) + 1
    return np.split(order, ends) if len(order) else []


class SequenceData:
    """Features, labels and axes of an expression track; features are read when a window asks for them."""

    def __init__(self, track: str, settings: Temporal, features: Features) -> None:
        self.track, self.settings = track, settings
        self.features = features
        self.train, self.validation, self.test = read_axes(track, features.table)
        self.validation_labels = task_arrays(track, self.validation.table)
        self.judged = self.validation  # a frame without a label is its neighbours' context
        self.labels = task_arrays(track, self.train.table)["expression"].astype(np.int64)
        self._videos = videos_of(self.train.table)
        self._index()

    def _index(self) -> None:
        """Where each usable training frame stands: its video and its place there."""
        lengths = [len(rows) for rows in self._videos]
        spots = np.stack([np.repeat(np.arange(len(lengths)), lengths), np.concatenate([*map(np.arange, lengths)])], 1)
        rows = np.concatenate(self._videos)
        usable = self.train.present[rows] & (self.labels[rows] >= 0)
        self._spots = spots[usable]
        weights = rarity({"expression": self.labels[rows][usable]}, self.settings.train.balance)
        self._cumulative = np.cumsum(weights)

    @property
    def width(self) -> int:
        """Length of a feature."""
        return self.features.width

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
        labels = torch.from_numpy(self.labels[rows])
        return {
            "features": torch.nn.functional.pad(features, (0, 0, 0, missing)),
            "present": torch.nn.functional.pad(present, (0, missing)),
            "expression": torch.nn.functional.pad(labels, (0, missing), value=-1),
        }

    def predict(self, system: TemporalEncoder, axis: Axis) -> Tasks:
        """Expression probabilities of every row with a face, NaN elsewhere."""
        scores = np.full((len(axis), system.head.out_features), np.nan, np.float32)
        for rows in videos_of(axis.table):
            features, present = self.read(axis, rows)
            found = system.predict_video(features.to(device()), present.to(device()), self.settings.stride_frames)
            scores[rows[present.numpy()]] = found.cpu().numpy()[present.numpy()]
        return {"expression": scores}


def temporal_recipe(data: SequenceData) -> Recipe:
    """The temporal encoder with its windows."""
    train = data.settings.train
    return Recipe(
        module=build_encoder(data.settings, data.width, len(TRACKS[data.track].classes)),
        data=data,
        train=train,
        batches=lambda generator, step: data.batch(generator, train.optimise.batch),
        prepare=lambda batch: batch,
        scores=lambda module, axis: data.predict(cast(TemporalEncoder, module), axis),
    )
