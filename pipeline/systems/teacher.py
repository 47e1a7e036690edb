"""Pseudo-labels: a teacher's answers, and the rule that decides which of them count. No system of its own.

The AU teacher is a linear probe on frozen features, one logistic regression an AU, and its answers count from a fixed
confidence (FixMatch, Sohn et al. 2020). Expressions come from the `dtm` system, under the thresholds it has learnt, and
where a published network is named beside it, both have to say the same.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.backbones.loading import Local
from pipeline.core.params import Section
from pipeline.core.parquet import array_column
from pipeline.tables.curves import read_curve
from pipeline.tables.features import Features
from pipeline.tables.join import find_rows

Log = Callable[[dict[str, float], int], None]
ROWS_AT_ONCE = 65_536  # of 768 features: 100 MB


class PseudoLabel(Section):
    """The AU teacher on cached features, and the confidence from which its answer counts as a label.

    `second_teacher`: the file of a published expression network that has to agree with the first; "" for none.
    """

    regularisation: float = Field(gt=0)
    confidence: float = Field(gt=0.5, lt=1)
    second_teacher: Local = ""


def _probe(regularisation: float) -> Pipeline:
    model = LogisticRegression(C=regularisation, class_weight="balanced", max_iter=300)
    return make_pipeline(StandardScaler(), model)


def _fit(features: np.ndarray, labels: np.ndarray, regularisation: float) -> Pipeline:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _probe(regularisation).fit(features.astype(np.float32), labels)


class AuTeacher:
    """Probability of each AU; a unit that is never, or always, active in the labels keeps its constant."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, regularisation: float) -> None:
        self.models: list[Pipeline | float] = []
        for unit in labels.T:
            valid = unit >= 0
            constant = len(np.unique(unit[valid])) < 2
            known = float(unit[valid].mean()) if valid.any() else 0.5
            self.models.append(known if constant else _fit(features[valid], unit[valid], regularisation))

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, D) to (N, 12)."""
        columns = [
            np.full(len(features), model)
            if isinstance(model, float)
            else model.predict_proba(features.astype(np.float32))[:, 1]
            for model in self.models
        ]
        return np.stack(columns, axis=1)

    def probabilities_of(self, features: Features) -> np.ndarray:
        """The same (N, 12) of all rows of cached features, `ROWS_AT_ONCE` of them in memory at a time."""
        parts = [
            self.probabilities(features.rows(np.arange(start, min(start + ROWS_AT_ONCE, len(features)))))
            for start in range(0, len(features), ROWS_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.models)))


def expression_labels(probabilities: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,), -1 where the likeliest class does not reach its threshold, and confidences (N,)."""
    confidence, guess = probabilities.max(axis=1), probabilities.argmax(axis=1)
    return np.where(confidence >= thresholds[guess], guess, -1), confidence


def agreed(labels: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Labels (N,), -1 too where the likeliest class of a second teacher (N, classes) is another.

    A class that it never gives (Other, of a network of FER-2013) is left to the first.
    """
    nameable = np.flatnonzero((second > 0).any(axis=0))
    differs = (labels != second.argmax(axis=1)) & np.isin(labels, nameable)
    return np.where(differs, -1, labels)


def au_labels(probabilities: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, 12), -1 for each unit whose probability is too far from both 0 and 1, and confidences (N, 12)."""
    confidence = np.maximum(probabilities, 1 - probabilities)
    return np.where(confidence >= threshold, probabilities >= 0.5, -1).astype(np.int8), confidence


def pseudo_table(axis: pa.Table, task: str, labels: np.ndarray, confidence: np.ndarray) -> pa.Table:
    """video, frame, label and confidence of each unlabelled face."""

    return pa.table(
        {
            "video": axis["video"],
            "frame": axis["frame"],
            task: array_column(labels.astype(np.int8)),
            "confidence": array_column(confidence.astype(np.float32)),
        }
    )


def with_features(labels: pa.Table, features: Features) -> tuple[pa.Table, np.ndarray]:
    """Label rows whose frame shows a face, and their features (N, D)."""
    rows = find_rows(features.table, labels)
    return labels.filter(rows >= 0), features.rows(rows[rows >= 0])


def threshold_history(curve: Path, classes: tuple[str, ...]) -> list[dict[str, float]]:
    """The rows of a training curve that tell each class's threshold: step and thresholds."""
    told = [row for row in read_curve(curve) if f"threshold_{classes[0]}" in row]
    return [{"step": int(row["step"])} | {name: row[f"threshold_{name}"] for name in classes} for row in told]


def tally(answers: np.ndarray, classes: tuple[str, ...], positives: np.ndarray) -> dict:
    """How many faces, how many of the answers counted, and how often each class was the answer."""
    return {
        "faces": len(answers),
        "accepted_fraction": float((answers >= 0).mean()) if len(answers) else 0.0,
        "positives": dict(zip(classes, positives.tolist(), strict=True)),
    }


def log_labels(log: Log, what: str, metrics: dict) -> None:
    """Log and tell how good the teacher is and how much of its answers counted."""
    accepted = {f"accepted_{dataset}": facts["accepted_fraction"] for dataset, facts in metrics["datasets"].items()}
    log({"teacher_validation_score": metrics["teacher_validation_score"]} | accepted, 0)
    shares = ", ".join(f"{d}: {f['accepted_fraction']:.0%} of {f['faces']}" for d, f in metrics["datasets"].items())
    print(f"pseudo-labels, {what}: teacher {metrics['teacher_validation_score']:.3f}; {shares}")
