"""Where the values of a Parquet column lie in its file, so that one of them is read without those beside it.

Our shards keep JPEG and float columns plain and uncompressed (`parquet.py`), so their bytes stand in the file as they
are: a column chunk of one row group is a run of data pages, each a header (Thrift's compact protocol), repetition and
definition levels, then the values. The format: https://parquet.apache.org/docs/file-format/data-pages/.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from io import FileIO
from os import pread
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import MienError

OPEN_FILES = 128  # for each reader; a process may commonly have 1,024 open
DATA_PAGE, PLAIN = 0, 0  # of parquet.thrift: PageType, Encoding
STRUCT, LIST, SET, MAP, BINARY, DOUBLE, BYTE = 12, 9, 10, 11, 8, 7, 3  # types of Thrift's compact protocol


class Column:
    """A plain column over the row groups of many files, numbered through; `rows` (groups,) tells their lengths.

    Threads may share it; the last `OPEN_FILES` files stay open. A file that is replaced meanwhile is read as it was
    as long as it stays open. Raises `MienError` where a file is no Parquet, has no such column (`leaf`, Parquet's name
    of it), or does not hold it plain and uncompressed.
    """

    def __init__(self, paths: Sequence[Path], leaf: str) -> None:
        chunks = [_chunks(path, leaf) for path in paths]
        self._paths = list(paths)
        self._files = np.repeat(np.arange(len(paths)), [len(rows) for rows in chunks])
        self._starts, self._sizes, self.rows = np.concatenate(chunks).T
        # unbuffered and read by `pread` alone, so threads share a file; one that is dropped closes after its last read
        self._open = lru_cache(OPEN_FILES)(FileIO)

    def path(self, group: int) -> Path:
        """The file of a row group."""
        return self._paths[self._files[group]]

    def chunk(self, group: int) -> bytes:
        """All pages of a row group."""
        return self.read(group, 0, int(self._sizes[group]))

    def read(self, group: int, start: int, size: int) -> bytes:
        """`size` bytes of a row group's chunk from `start`. Raises `MienError` where the file ends before."""
        path, first = self.path(group), int(self._starts[group]) + start
        try:
            file = self._open(path)
            data = pread(file.fileno(), size, first)
        except OSError as error:
            raise MienError(f"{path}: {error.strerror}; run `dvc repro`") from None
        if len(data) != size:
            raise MienError(f"{path}: ends before byte {first + size}; run `dvc repro`")
        return data


def _chunks(path: Path, leaf: str) -> np.ndarray:
    """Start, size in bytes, and rows of each row group's chunk of one file, (groups, 3)."""
    try:
        with pq.ParquetFile(path) as file:
            meta = file.metadata
    except (OSError, pa.ArrowException) as error:
        raise MienError(f"{path}: not readable as Parquet ({str(error).splitlines()[0]}); run `dvc repro`") from None
    names = [meta.schema.column(i).path for i in range(meta.num_columns)]
    if leaf not in names:
        raise MienError(f"{path}: has no column {leaf}; run `dvc repro`")
    groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
    columns = [group.column(names.index(leaf)) for group in groups]
    if any(c.compression != "UNCOMPRESSED" or c.has_dictionary_page for c in columns):
        raise _not_plain(path)
    table = [(c.data_page_offset, c.total_compressed_size, g.num_rows) for c, g in zip(columns, groups, strict=True)]
    return np.array(table, np.int64).reshape(-1, 3)


def _not_plain(path: Path) -> MienError:
    return MienError(f"{path}: a column is not stored plain and uncompressed; run `dvc repro` to write it anew")


def data_pages(chunk: bytes, levels: int, where: Path) -> Iterator[tuple[int, int, int]]:
    """For each data page of a column chunk: its number of values (nulls too), and where its values start and end.

    `levels`: how many of repetition and definition levels stand before the values (0 to 2).
    """
    place = 0
    while place < len(chunk):
        try:
            header, place = _thrift_struct(chunk, place)
        except (IndexError, ValueError):
            raise MienError(f"{where}: damaged: a page's header cannot be read; run `dvc repro`") from None
        end, data = place + header.get(3, 0), header.get(5, {})
        if header.get(1) != DATA_PAGE or data.get(2) != PLAIN or end > len(chunk):
            raise _not_plain(where)
        for _ in range(levels):
            place += 4 + int.from_bytes(chunk[place : place + 4], "little")
        yield data[1], place, end
        place = end


def fixed_values(chunk: bytes, size: int, where: Path) -> tuple[np.ndarray, np.ndarray]:
    """For each data page of a chunk of lists without nulls: its first value's number, and where its values start.

    A value takes `size` bytes; both arrays end with what would follow the last page.
    """
    firsts, starts = [0], []
    for count, place, end in data_pages(chunk, 2, where):
        if end - place != count * size:
            raise MienError(f"{where}: damaged: values are missing in a page; run `dvc repro`")
        firsts.append(firsts[-1] + count)
        starts.append(place)
    return np.array(firsts, np.int64), np.array([*starts, len(chunk)], np.int64)


def byte_values(chunk: bytes, where: Path) -> tuple[np.ndarray, np.ndarray]:
    """Start and length in bytes of each value of a chunk of a nullable binary column, nulls left out."""
    starts: list[int] = []
    lengths: list[int] = []
    for _, place, end in data_pages(chunk, 1, where):
        while place < end:
            length = int.from_bytes(chunk[place : place + 4], "little")
            starts.append(place + 4)
            lengths.append(length)
            place += 4 + length
        if place != end:
            raise MienError(f"{where}: damaged: a value ends beyond its page; run `dvc repro`")
    return np.array(starts, np.int64), np.array(lengths, np.int32)


# --- Thrift's compact protocol, as far as page headers use it ------------------------------------------------


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _thrift_struct(data: bytes, place: int) -> tuple[dict[int, Any], int]:
    """A struct as its fields by number, and the place behind it."""
    fields: dict[int, Any] = {}
    number = 0
    while data[place]:
        kind, step = data[place] & 0x0F, data[place] >> 4
        place += 1
        if step:
            number += step
        else:
            raw, place = _varint(data, place)
            number = (raw >> 1) ^ -(raw & 1)
        fields[number], place = _thrift_value(data, place, kind)
    return fields, place + 1


def _thrift_value(data: bytes, place: int, kind: int) -> tuple[Any, int]:
    if kind in (1, 2):  # true and false stand in the type itself
        return kind == 1, place
    if kind == STRUCT:
        return _thrift_struct(data, place)
    if kind == BINARY:
        size, place = _varint(data, place)
        return data[place : place + size], place + size
    if kind in (BYTE, DOUBLE):
        return None, place + (1 if kind == BYTE else 8)
    if kind in (LIST, SET, MAP):
        raise ValueError("page headers hold no list")
    raw, place = _varint(data, place)
    return (raw >> 1) ^ -(raw & 1), place
