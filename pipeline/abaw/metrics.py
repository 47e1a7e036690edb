"""The official ABAW metrics (sites of editions 6-11) with fixed denominators and per-task masks.

Rows whose label is invalid (-1, or -5 for valence-arousal) are dropped by that task's own mask; duplicate
rows are kept. A class that occurs neither in labels nor in predictions counts as F1 = 0: the denominator
never shrinks.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from pipeline.abaw.tracks import AUS, COMPOUNDS, EXPRESSIONS, INVALID_CLASS, INVALID_VA, LSD_EXPRESSIONS, TRACK_OF_TASK
from pipeline.core.errors import MienError

Score = dict[str, Any]


def check_pair(track: str, labels: np.ndarray, predictions: np.ndarray) -> None:
    """Refuse predictions of another shape, NaN and infinity, and AUs that are neither 0 nor 1."""
    if labels.shape != predictions.shape:
        raise MienError(f"labels of shape {labels.shape} against predictions of shape {predictions.shape}")
    if np.issubdtype(predictions.dtype, np.floating) and not np.isfinite(predictions).all():
        raise MienError("predictions hold NaN or infinity. Mend: fill the rows without a prediction first")
    if track == "au" and not ((predictions == 0) | (predictions == 1)).all():
        raise MienError("AU predictions must be 0 or 1. Mend: apply the thresholds first")


def _f1(truth: Iterable[np.ndarray], guess: Iterable[np.ndarray]) -> np.ndarray:
    """F1 of each class from its two masks (rows,), 0 for what neither has.

    The same bits as scikit-learn's `f1_score`, whose checks take longer than the count where an ensemble asks thousands
    of times, and whose import longer than that: 1.4 s of every stage.
    """
    pairs = zip(truth, guess, strict=True)
    hits, either = np.array([(np.count_nonzero(t & g), np.count_nonzero(t) + np.count_nonzero(g)) for t, g in pairs]).T
    return 2 * hits / np.maximum(either, 1)


def _class_score(labels: np.ndarray, predictions: np.ndarray, classes: int) -> Score:
    """Mean F1 over `classes` classes, a fixed denominator; labels and predictions of shape (rows,)."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    check_pair("", labels, predictions)
    valid = labels != INVALID_CLASS
    truth, guess = labels[valid], predictions[valid]
    every = range(classes)  # the denominator is fixed, whichever classes are present
    f1 = _f1((truth == one for one in every), (guess == one for one in every))
    return {"score": float(f1.sum() / classes), "f1_per_class": f1.tolist(), "rows": int(valid.sum())}


def expr_score(labels: np.ndarray, predictions: np.ndarray) -> Score:
    """EXPR: sum of F1 over the 8 expressions / 8. Shapes (rows,)."""
    return _class_score(labels, predictions, len(EXPRESSIONS))


def lsd_score(labels: np.ndarray, predictions: np.ndarray) -> Score:
    """LSD: sum of F1 over the 6 expressions / 6. Shapes (rows,)."""
    return _class_score(labels, predictions, len(LSD_EXPRESSIONS))


def ce_score(labels: np.ndarray, predictions: np.ndarray) -> Score:
    """CE: sum of F1 over the 7 compound expressions / 7. Shapes (rows,)."""
    return _class_score(labels, predictions, len(COMPOUNDS))


def au_score(labels: np.ndarray, predictions: np.ndarray) -> Score:
    """AU: sum of the positive class's F1 over the 12 units / 12. Shapes (rows, 12), predictions 0 or 1.

    A row with any -1 is dropped whole, as in all published code.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    check_pair("au", labels, predictions)
    valid = (labels != INVALID_CLASS).all(axis=1)
    truth, guess = (np.ascontiguousarray((side[valid] == 1).T) for side in (labels, predictions))
    f1 = _f1(truth, guess)
    return {"score": float(f1.sum() / len(AUS)), "f1_per_class": f1.tolist(), "rows": int(valid.sum())}


def ccc(x: np.ndarray, y: np.ndarray) -> float:
    """Concordance correlation, 2 s_xy / (s_x^2 + s_y^2 + (m_x - m_y)^2), population moments (Lin, 1989).

    0 when a side has no variance or there are fewer than two points.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    mean_x, mean_y = x.mean(), y.mean()
    covariance = ((x - mean_x) * (y - mean_y)).mean()
    return float(2 * covariance / (x.var() + y.var() + (mean_x - mean_y) ** 2))


def va_score(labels: np.ndarray, predictions: np.ndarray) -> Score:
    """VA: (CCC valence + CCC arousal) / 2, pooled over all valid frames. Shapes (rows, 2)."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    check_pair("va", labels, predictions)
    valid = (labels > INVALID_VA / 2).all(axis=1)  # -5 on either side drops the row
    valence, arousal = (ccc(labels[valid, i], predictions[valid, i]) for i in range(2))
    rows = int(valid.sum())
    return {"score": (valence + arousal) / 2, "ccc_valence": valence, "ccc_arousal": arousal, "rows": rows}


def mtl_score(labels: dict[str, np.ndarray], predictions: dict[str, np.ndarray]) -> Score:
    """MTL: the VA, EXPR and AU scores added up (at most 3); arrays by task, one row an image.

    Each task drops rows by its own mask; duplicate rows count as often as the official list has them.
    """
    parts = {track: SCORES[track](labels[task], predictions[task]) for task, track in TRACK_OF_TASK.items()}
    return {"score": sum(part["score"] for part in parts.values()), **parts}


SCORES: dict[str, Callable[[Any, Any], Score]] = {
    "expr": expr_score,
    "au": au_score,
    "va": va_score,
    "mtl": mtl_score,
    "lsd": lsd_score,
    "ce": ce_score,
}


def score(track: str, labels: Any, predictions: Any) -> Score:
    """The official metric of `track`; see the function of that track for shapes."""
    return SCORES[track](labels, predictions)


CLASS_COUNTS = {"expr": len(EXPRESSIONS), "lsd": len(LSD_EXPRESSIONS), "ce": len(COMPOUNDS)}


def constant_baseline(track: str, labels: Any) -> Score:
    """The official score of the best constant predictor: what a model that looks at nothing can reach.

    One class for EXPR, LSD, CE; every unit on where that helps for AU; any constant for VA (its CCC is 0).
    """
    if track == "mtl":
        return _sum({name: constant_baseline(name, labels[task]) for task, name in TRACK_OF_TASK.items()})
    labels = np.asarray(labels)
    if track in CLASS_COUNTS:
        guesses = [np.full(labels.shape, index) for index in range(CLASS_COUNTS[track])]
        return max((score(track, labels, guess) for guess in guesses), key=lambda found: found["score"])
    constant = (
        np.ones_like(labels) if track == "au" else np.zeros_like(labels)
    )  # F1 of "always on" is never below "off"
    return score(track, labels, constant)


def chance_baseline(track: str, labels: Any, seed: int = 0, draws: int = 10) -> Score:
    """Mean official score of `draws` uniform random predictions."""
    if track == "mtl":
        return _sum({name: chance_baseline(name, labels[task], seed, draws) for task, name in TRACK_OF_TASK.items()})
    labels = np.asarray(labels)
    generator = np.random.default_rng(seed)
    scores = [score(track, labels, _random(track, labels, generator))["score"] for _ in range(draws)]
    return {"score": float(np.mean(scores)), "draws": draws}


def _random(track: str, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if track == "va":
        return generator.uniform(-1, 1, labels.shape)
    return generator.integers(2 if track == "au" else CLASS_COUNTS[track], size=labels.shape)


def _sum(parts: dict[str, Score]) -> Score:
    return {"score": sum(part["score"] for part in parts.values()), **parts}
