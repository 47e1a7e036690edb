"""Parquet shards: one writer whose bytes depend on the rows alone.

Rows sorted by the caller; 256 rows a group for crops and 1,024 for features, so that a random row is cheap; JPEG and
float columns uncompressed (they do not shrink), strings in zstd with a dictionary; provenance in the schema's
metadata.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import MienError
from pipeline.core.files import atomic_path

CROP_ROWS = 256
FEATURE_ROWS = 1024


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def write_parquet(
    target: Path, table: pa.Table, rows_per_group: int = FEATURE_ROWS, metadata: dict[str, str] | None = None
) -> None:
    """Publish `table` atomically at `target`."""
    text = [field.name for field in table.schema if _is_text(field.type)]
    table = table.replace_schema_metadata(metadata)
    with atomic_path(target) as temporary:
        pq.write_table(
            table,
            temporary,
            row_group_size=rows_per_group,
            use_dictionary=text or False,
            compression={name: "ZSTD" if name in text else "NONE" for name in _leaf_columns(table.schema)},
            write_statistics=[name for name in ("video", "frame") if name in table.column_names],
        )


def _leaf_columns(schema: pa.Schema) -> list[str]:
    """Parquet's names of the leaf columns: `x.list.element` for a list column x."""
    return [
        f"{field.name}.list.element"
        if pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)
        else field.name
        for field in schema
    ]


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read one file; a missing or damaged one is an error that names it."""
    try:
        return pq.read_table(path, columns=columns, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise MienError(
            f"{path}: not readable as Parquet ({str(error).splitlines()[0]}); run `make repro` again"
        ) from None


def shard_paths(folder: Path) -> list[Path]:
    """All shards below a folder in the order of their names; a shard stands for itself."""
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*.parquet"))
    if not paths:
        raise MienError(f"{folder}: holds no Parquet shard; run `make repro`")
    return paths


def read_shards(folder: Path, columns: list[str] | None = None) -> pa.Table:
    """All shards below a folder, in the order of their names, as one table (chunked, not copied)."""
    return pa.concat_tables([read_parquet(path, columns) for path in shard_paths(folder)])


def column_array(column: pa.ChunkedArray) -> np.ndarray:
    """A numeric or fixed-size-list column as an array (rows,) or (rows, size)."""
    array = column.combine_chunks()
    if pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)
    return array.to_numpy(zero_copy_only=False)


def array_column(values: np.ndarray) -> pa.Array:
    """Inverse of `column_array`: (rows,) as numbers, (rows, size) as fixed-size lists, of the array's own type."""
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
