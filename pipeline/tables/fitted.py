"""What an ensemble fitted for each task: weights of its members, smoothing, AU thresholds; and how it lies on disk."""

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
    fitted = {
        task: Fitted(tuple(how["weights"].values()), how["half_window_frames"], tuple(how["au_thresholds"]))
        for task, how in tree.items()
    }
    return names, fitted
