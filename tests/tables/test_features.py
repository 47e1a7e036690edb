"""Cached features read by row."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.errors import MienError
from pipeline.core.parquet import array_column, column_array, read_shards, write_parquet
from pipeline.tables import features as features_module
from pipeline.tables.features import Features


def write_features(path: Path, video: str, values: np.ndarray, rows: int = 1024) -> None:
    frames = np.arange(1, len(values) + 1, dtype=np.int32)
    videos = pa.array([video] * len(values), pa.string())
    table = pa.table({"video": videos, "frame": frames, "feature": array_column(values)})
    write_parquet(path, table, rows)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Shards of 2,500, no, and 9 rows of 700 numbers: a page of a megabyte ends within a row."""
    generator = np.random.default_rng(0)
    for video, count in {"a": 2500, "b/c": 0, "d": 9}.items():
        values = generator.normal(size=(count, 700)).astype(np.float16)
        write_features(tmp_path / f"x/{video}.parquet", video, values if count else np.zeros((0, 1), np.float16))
    return tmp_path / "x"


def test_rows_are_those_that_arrow_reads(folder):
    features = Features(folder)
    shards = [read_shards(path) for path in (folder / "a.parquet", folder / "d.parquet")]
    whole = np.concatenate([column_array(shard["feature"]) for shard in shards])
    assert features.width == 700 and len(features) == len(features.table) == 2509
    assert (features.rows(np.arange(2509)) == whole).all()
    generator = np.random.default_rng(1)
    for rows in (
        generator.permutation(2509)[:300],
        np.array([7, 7, 6, 5, 2508, 0]),
        np.arange(1000, 1100),
        np.zeros(0),
    ):
        found = features.rows(rows.astype(np.int64))
        assert found.dtype == np.float16 and (found == whole[rows.astype(np.int64)]).all()


def test_only_what_is_asked_for_is_read(folder, monkeypatch):
    sizes = []
    read = features_module.Column.read

    def measured(self, group, start, size):
        sizes.append(size)
        return read(self, group, start, size)

    features = Features(folder)
    monkeypatch.setattr(features_module.Column, "read", measured)
    features.rows(np.arange(10, 60))  # one read: they are neighbours
    assert sizes == [50 * 700 * 2]
    features.rows(np.array([0, 1, 900, 5]))
    assert sizes[1:] == [2 * 1400, 1400, 1400]


def test_features_of_two_lengths_are_told(tmp_path):
    write_features(tmp_path / "x/a.parquet", "a", np.ones((3, 4), np.float16))
    write_features(tmp_path / "x/b.parquet", "b", np.ones((3, 5), np.float16))
    with pytest.raises(MienError, match=r"b\.parquet: features of another length"):
        Features(tmp_path / "x").rows(np.arange(6))


def test_no_rows_at_all(tmp_path):
    write_features(tmp_path / "x/a.parquet", "a", np.zeros((0, 1), np.float16))
    features = Features(tmp_path / "x")
    assert len(features) == 0 and features.rows(np.zeros(0, np.int64)).shape == (0, 1)
