"""Pseudo-labels: a teacher's answers, and the rule that decides which of them count.

The AU teacher is a linear probe on frozen features, one logistic regression an AU, and its answers count from a fixed
confidence (FixMatch, Sohn et al. 2020). Expressions come from the `dtm` system, under the thresholds it has learnt.
"""

import warnings

import numpy as np
import pyarrow as pa
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


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


def expression_labels(probabilities: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,), -1 where the likeliest class does not reach its threshold, and confidences (N,)."""
    confidence, guess = probabilities.max(axis=1), probabilities.argmax(axis=1)
    return np.where(confidence >= thresholds[guess], guess, -1), confidence


def au_labels(probabilities: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, 12), -1 for each unit whose probability is too far from both 0 and 1, and confidences (N, 12)."""
    confidence = np.maximum(probabilities, 1 - probabilities)
    return np.where(confidence >= threshold, probabilities >= 0.5, -1).astype(np.int8), confidence


def pseudo_table(axis: pa.Table, task: str, labels: np.ndarray, confidence: np.ndarray) -> pa.Table:
    """video, frame, label and confidence of each unlabelled face."""

    def column(values: np.ndarray, kind: type) -> pa.Array:
        flat = pa.array(np.ascontiguousarray(values, dtype=kind).reshape(-1))
        return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])

    return pa.table(
        {
            "video": axis["video"],
            "frame": axis["frame"],
            task: column(labels, np.int8),
            "confidence": column(confidence, np.float32),
        }
    )
