"""By how much two files differ that should be the same, in a phrase."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file

from pipeline.run.tracking import flatten


def amount(first: Path, second: Path) -> str:
    """What of two files' content is not the same: rows, numbers and the largest difference, or lines."""
    try:
        compared = COMPARED.get(first.suffix, _texts)(first, second)
    except (ValueError, OSError, KeyError, pa.ArrowException, SafetensorError):
        return "other bytes, one of which does not read"
    return compared or "other bytes, the same content"


def _tables(first: Path, second: Path) -> str:
    a, b = pq.read_table(first), pq.read_table(second)
    if a.num_rows != b.num_rows or a.schema.names != b.schema.names:
        return f"{a.num_rows} and {b.num_rows} rows of {len(a.schema.names)} and {len(b.schema.names)} columns"
    told = [f"{name} {said}" for name in a.schema.names if (said := _columns(a[name], b[name]))]
    return "; ".join(told)


def _columns(a: pa.ChunkedArray, b: pa.ChunkedArray) -> str:
    if a.equals(b):
        return ""
    values = [np.asarray(_flat(column.combine_chunks())) for column in (a, b)]
    if values[0].dtype.kind not in "fiu" or values[0].shape != values[1].shape:
        return f"in {sum(x != y for x, y in zip(a.to_pylist(), b.to_pylist(), strict=True))} of {len(a)} rows"
    return _numbers(*values)


def _flat(column: pa.Array) -> pa.Array:
    return column.flatten() if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type) else column


def _tensors(first: Path, second: Path) -> str:
    a, b = load_file(first), load_file(second)
    if {name: v.shape for name, v in a.items()} != {name: v.shape for name, v in b.items()}:
        return "other tensors"
    return _numbers(*(np.concatenate([v.ravel() for _, v in sorted(side.items())]) for side in (a, b)))


def _numbers(a: np.ndarray, b: np.ndarray) -> str:
    """How many differ, and the most; a number beside a NaN counts as different."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    unlike = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if not unlike.any():
        return ""
    return f"in {unlike.sum()} of {a.size} numbers, by {np.nanmax(np.abs(a - b)[unlike]):.2g} at most"


def _trees(first: Path, second: Path) -> str:
    a, b = (flatten({"": json.loads(path.read_text(encoding="utf-8"))}) for path in (first, second))
    unlike = [name for name in a | b if a.get(name) != b.get(name)]
    return f"{len(unlike)} of {len(a | b)} values" if unlike else ""


def _texts(first: Path, second: Path) -> str:
    a, b = first.read_bytes().split(b"\n"), second.read_bytes().split(b"\n")
    unlike = sum(x != y for x, y in zip(a, b, strict=False)) + abs(len(a) - len(b))
    return f"{unlike} of {max(len(a), len(b))} lines"


COMPARED: dict[str, Any] = {".parquet": _tables, ".safetensors": _tensors, ".json": _trees}
