"""Values found in a Parquet file by their places."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core import pages
from pipeline.core.errors import MienError
from pipeline.core.pages import Column, byte_values, fixed_values
from pipeline.core.parquet import array_column, write_parquet

SIZES = [0, 1, 127, 128, 70_000, 1_200_000, 3]  # around a varint's bounds, and beyond a page of a megabyte


def write(path: Path, values: list[bytes | None], rows: int = 4) -> Path:
    write_parquet(path, pa.table({"frame": range(len(values)), "jpeg": pa.array(values, pa.binary())}), rows)
    return path


def read(path: Path) -> list[bytes]:
    column, found = Column([path], "jpeg"), []
    for group in range(len(column.rows)):
        for first, length in zip(*byte_values(column.chunk(group), path), strict=True):
            found.append(column.read(group, int(first), int(length)))
    return found


@pytest.mark.parametrize("nulls", [(), (0,), (3, 4, 5, 6), range(14)])
def test_values_are_those_that_arrow_reads(tmp_path, nulls):
    values = [bytes(np.random.default_rng(i).bytes(size)) for i, size in enumerate(SIZES * 2)]
    kept = [None if i in nulls else value for i, value in enumerate(values)]
    path = write(tmp_path / "x.parquet", kept)
    assert read(path) == [value for value in kept if value is not None]
    assert Column([path], "jpeg").rows.tolist() == [4, 4, 4, 2]


@pytest.mark.parametrize("options", [{"compression": "zstd"}, {"use_dictionary": True}, {"data_page_version": "2.0"}])
def test_what_is_not_plain_is_refused(tmp_path, options):
    path, plain = tmp_path / "x.parquet", {"compression": "none", "use_dictionary": False}
    pq.write_table(pa.table({"jpeg": [b"abc"] * 9}), path, **(plain | options))
    with pytest.raises(MienError, match=r"x\.parquet: .* is not stored plain and uncompressed; run `dvc repro`"):
        read(path)


def test_a_damaged_file_is_named(tmp_path):
    path = write(tmp_path / "x.parquet", [b"abc"] * 9, rows=9)
    column = Column([path], "jpeg")
    header = column.chunk(0)[:8]
    data = bytearray(path.read_bytes())
    data[data.index(b"abc") - 4] = 200  # the first value's length
    path.write_bytes(bytes(data))
    with pytest.raises(MienError, match=r"x\.parquet: damaged: a value ends beyond its page"):
        read(path)
    data[data.index(header)] = 0x1F  # no type of Thrift's
    path.write_bytes(bytes(data))
    with pytest.raises(MienError, match=r"x\.parquet"):
        read(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(MienError, match=r"x\.parquet: ends before byte"):
        column.chunk(0)


def test_what_is_no_shard_is_named(tmp_path):
    (tmp_path / "y.parquet").write_bytes(b"no Parquet")
    with pytest.raises(MienError, match=r"y\.parquet: not readable as Parquet"):
        Column([tmp_path / "y.parquet"], "jpeg")
    with pytest.raises(MienError, match=r"x\.parquet: has no column video"):
        Column([write(tmp_path / "x.parquet", [b"abc"])], "video")
    with pytest.raises(MienError, match=r"gone\.parquet: not readable as Parquet"):
        Column([tmp_path / "gone.parquet"], "jpeg")


def test_more_files_than_may_be_open(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "OPEN_FILES", 2)
    column = Column([write(tmp_path / f"{i}.parquet", [bytes([i]) * 9]) for i in range(5)], "jpeg")
    for _ in range(2):
        assert [column.chunk(group)[-9:] for group in range(5)] == [bytes([i]) * 9 for i in range(5)]
    assert column._open.cache_info().currsize == 2


def test_lists_are_found_by_number(tmp_path):
    """3,000 rows of 300 numbers: pages of a megabyte hold less than a row group of them."""
    values = np.random.default_rng(0).normal(size=(3000, 300)).astype(np.float16)
    write_parquet(tmp_path / "x.parquet", pa.table({"feature": array_column(values)}), 2000)
    column = Column([tmp_path / "x.parquet"], "feature.list.element")
    whole = []
    for group in range(2):
        chunk = column.chunk(group)
        firsts, starts = fixed_values(chunk, 2, tmp_path)
        parts = [chunk[a : a + 2 * (n - m)] for a, m, n in zip(starts, firsts, firsts[1:], strict=False)]
        whole.append(np.frombuffer(b"".join(parts), np.float16))
        assert group or len(parts) > 1
    assert (np.concatenate(whole) == values.reshape(-1)).all()
