"""What a trained system has to beat: linear heads on a frozen encoder, the best constant, and chance.

A linear head is scikit-learn's, on standardised features of the training crops and their mirrors: logistic regression
for expressions and for each AU, ridge regression for valence and arousal. Its regularisation is the best of a grid on
validation, as a training's step is; its scores are the mean over a crop and its mirror, as a system's are.
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from bench.hidden import truth
from models.backbone import Backbone
from models.vit import freeze
from pipeline.abaw.tracks import TRACK_OF_TASK, TRACKS
from pipeline.backbones.build import BackboneSettings, build_backbone
from pipeline.settings import Params
from pipeline.tables.scores import Tasks, judged_decisions, official_score
from pipeline.train.data import Axis, TrackData
from pipeline.train.fit import seed_weights

STRENGTHS = (1e-4, 1e-3, 1e-2)  # scikit-learn's C; ridge has its inverse
BATCH, GRID = 128, 8
Head = Callable[[np.ndarray], np.ndarray]  # features (N, width) to scores (N, columns)


def encoder_of(params: Params, pretrained: bool) -> Backbone:
    """Our own encoder read cell by cell: pretrained, or as the seed of `finetune` draws it."""
    seed_weights(params.finetune)
    return build_backbone(BackboneSettings(name="encoder", readout_grid=GRID), params.vit, pretrained)


def frozen_scores(track: str, encoder: Backbone) -> tuple[TrackData, Tasks, Tasks]:
    """The track's data, and scores of its judged and its test rows (NaN without a face) by linear heads on a frozen
    encoder.
    """
    data = TrackData(track, encoder.pixels, 0.0)
    frozen = Frozen(encoder, data)
    read = [frozen.features(axis.places[axis.present]) for axis in (data.judged, data.test)]
    judged, test = {}, {}
    for task, labels in data.labels.items():
        known = {task: data.validation_labels[task][data.judged.present]}
        head = best_head(task, track, frozen.train, np.concatenate([labels, labels]), read[0], known)
        judged[task], test[task] = (mean_scores(head, features) for features in read)
    return data, on_axis(judged, data.judged), on_axis(test, data.test)


class Frozen:
    """An encoder's features, each standardised over the training crops and their mirrors, whose rows are `train`.

    They are told in an orthonormal basis of the span of these rows: a penalised linear head is the same there, and has
    as many weights as there are rows.
    """

    def __init__(self, encoder: Backbone, data: TrackData) -> None:
        self.encoder, self.data = encoder, data
        freeze(encoder)
        rows = np.concatenate(self._both(data.places))
        self.mean, self.deviation = rows.mean(axis=0), rows.std(axis=0) + 1e-6
        self.basis = np.linalg.qr(((rows - self.mean) / self.deviation).T)[0]
        self.train = self._told(rows)

    def features(self, places: np.ndarray) -> list[np.ndarray]:
        """Those of crops, and those of their mirrors."""
        return [self._told(rows) for rows in self._both(places)]

    def _told(self, rows: np.ndarray) -> np.ndarray:
        return ((rows - self.mean) / self.deviation) @ self.basis

    def _both(self, places: np.ndarray) -> list[np.ndarray]:
        straight, mirrored = [], []
        for part in np.split(places, range(BATCH, len(places), BATCH)):
            images = torch.from_numpy(self.data.crops.images(part, self.data.pixels))
            with torch.no_grad():
                straight.append(self.encoder(images).numpy())
                mirrored.append(self.encoder(images.flip(-1)).numpy())
        return [np.concatenate(straight), np.concatenate(mirrored)]


def mean_scores(head: Head, features: list[np.ndarray]) -> np.ndarray:
    """Over a crop and its mirror."""
    return np.mean([head(rows) for rows in features], axis=0)


def on_axis(scores: Tasks, axis: Axis) -> Tasks:
    """Scores of the rows with a face in their places on the axis."""
    full = {task: np.full((len(axis), values.shape[1]), np.nan) for task, values in scores.items()}
    for task, values in scores.items():
        full[task][axis.present] = values
    return full


def best_head(
    task: str, track: str, known: np.ndarray, labels: np.ndarray, judged: list[np.ndarray], truth: Tasks
) -> Head:
    """The head whose regularisation is best on validation: features of its rows, and their labels."""
    metric = track if track == "lsd" else TRACK_OF_TASK[task]

    def validation(head: Head) -> float:
        return official_score(metric, truth, judged_decisions(truth, {task: mean_scores(head, judged)}))["score"]

    return max((linear_head(task, track, known, labels, strength) for strength in STRENGTHS), key=validation)


def linear_head(task: str, track: str, known: np.ndarray, labels: np.ndarray, strength: float) -> Head:
    """Expression probabilities (N, classes), AU probabilities (N, 12), or valence and arousal (N, 2)."""
    if task == "va":
        valid = (labels >= -1).all(axis=1)
        return Ridge(1 / strength).fit(known[valid], labels[valid]).predict
    if task == "expression":
        return _logistic(known, labels, len(TRACKS[track].classes), strength)
    units = [_logistic(known, unit, 2, strength) for unit in labels.T]
    return lambda rows: np.stack([unit(rows)[:, 1] for unit in units], axis=1)


def _logistic(known: np.ndarray, labels: np.ndarray, classes: int, strength: float) -> Head:
    """Class probabilities (N, classes) of rows; a class without a label (of -1 is none) has probability zero."""
    valid = labels >= 0
    there = np.unique(labels[valid])
    if len(there) == 1:
        return lambda rows: np.tile(np.eye(classes)[there[0]], (len(rows), 1))
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(known[valid], labels[valid])
    return lambda rows: model.predict_proba(rows) @ np.eye(classes)[there]


def constant_answer(track: str) -> Tasks:
    """The constant that scores best on the hidden truth itself, a generous control: one class, all AUs, zeros."""
    labels = truth(track)
    answer: Tasks = {}
    for task, values in labels.items():
        answer[task] = np.ones_like(values) if task == "aus" else np.zeros_like(values)
        if task == "expression":
            answer[task] += _best_class(track, values)
    return answer


def _best_class(track: str, labels: np.ndarray) -> int:
    metric = track if track == "lsd" else TRACK_OF_TASK["expression"]

    def score(number: int) -> float:
        answer = {"expression": np.full_like(labels, number)}
        return official_score(metric, {"expression": labels}, answer)["score"]

    return max(range(len(TRACKS[track].classes)), key=score)


def random_answer(track: str, params: Params) -> Tasks:
    """Answers drawn uniformly under the seed of `finetune`."""
    generator = np.random.default_rng(params.finetune.seed)
    return {task: _drawn(task, track, values, generator) for task, values in truth(track).items()}


def _drawn(task: str, track: str, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if task == "va":
        return generator.uniform(-1, 1, labels.shape)
    return generator.integers(len(TRACKS[track].classes) if task == "expression" else 2, size=labels.shape)
