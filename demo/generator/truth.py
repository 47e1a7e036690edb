"""The truth of every rendered frame as one Parquet table."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from demo.generator.expressions import CLASSES, UNITS
from demo.generator.film import Truth


def write_table(path: Path, truths: list[Truth]) -> None:
    """One row a face: where it is, who, what it shows and how the head stands (degrees, pixels)."""
    columns = {
        "part": [t.part for t in truths],
        "name": [t.name for t in truths],
        "split": [t.split for t in truths],
        "frame": pa.array([t.frame for t in truths], pa.int32()),
        "style": [t.style for t in truths],
        "identity": [t.identity for t in truths],
        "face": [t.landmarks is not None for t in truths],
        "shown": [CLASSES[t.instant.expression.kind] for t in truths],
        "label": [CLASSES[t.instant.expression.label] for t in truths],
        "intensity": _floats([t.instant.expression.intensity for t in truths]),
        "valence": _floats([t.instant.expression.valence_arousal[0] for t in truths]),
        "arousal": _floats([t.instant.expression.valence_arousal[1] for t in truths]),
        **{f"au{au}": _floats([t.instant.moment.aus.get(au, 0.0) for t in truths]) for au in UNITS},
        **{a: _floats([getattr(t.instant.moment, a) for t in truths]) for a in ("yaw", "pitch", "roll", "blink")},
        "landmarks": pa.array(
            [None if t.landmarks is None else t.landmarks.ravel().tolist() for t in truths], pa.list_(pa.float32())
        ),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")


def _floats(values: list[float]) -> pa.Array:
    return pa.array(values, pa.float32())
