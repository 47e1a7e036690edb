"""What an ensemble fitted for each task (members' weights, smoothing, AU thresholds, class priors), and its file."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import MienError

THRESHOLD = 0.5  # of an AU that nothing was fitted for


@dataclass(frozen=True)
class Fitted:
    """What was fitted for one task."""

    weights: tuple[float, ...]
    half_window_frames: int
    au_thresholds: tuple[float, ...] = ()
    class_prior: tuple[float, ...] = ()  # class scores are divided by it


def thresholds_of(fitted: dict[str, Fitted]) -> np.ndarray | float:
    """AU thresholds (12,) among fitted tasks; `THRESHOLD` where none was fitted."""
    return np.array(fitted["aus"].au_thresholds) if "aus" in fitted else THRESHOLD


def as_json(fitted: dict[str, Fitted], names: Sequence[str]) -> dict[str, Any]:
    """Fitted values with the members' names."""
    return {
        task: {**asdict(how), "weights": dict(zip(names, how.weights, strict=True))} for task, how in fitted.items()
    }


def read_fitted(path: Path) -> tuple[list[str], dict[str, Fitted]]:
    """Inverse of `as_json`: the members' names, and what was fitted for each task."""
    if not path.is_file():
        raise MienError(f"{path} is missing: nothing is trained yet; run `make repro` first")
    tree = json.loads(path.read_text())
    names = list(next(iter(tree.values()))["weights"])
    return names, {task: _fitted(**how) for task, how in tree.items()}


def _fitted(
    weights: dict[str, float],
    half_window_frames: int,
    au_thresholds: Sequence[float],
    class_prior: Sequence[float] = (),  # none in files of before
) -> Fitted:
    return Fitted(tuple(weights.values()), half_window_frames, tuple(au_thresholds), tuple(class_prior))
