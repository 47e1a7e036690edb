"""An imported release: images in Parquet shards, every other file verbatim beside them, one listing over both.

Layout below the pack's root: the release's own tree without its images; `shards/<folder>/<part>.parquet` with the
images of that folder; `index.parquet` (folder, shard, rows, bytes), `sources.parquet` (path, bytes and sha256 of the
verbatim files) and `pack.json`, written last.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.abaw.names import unsafe
from pipeline.core.errors import MienError
from pipeline.core.files import atomic_path, atomic_write_text
from pipeline.core.suffixes import is_image
from pipeline.release.files import File, LooseStore, join, parent

FORMAT = {"format": "mien-pack", "version": 1}
MARK = "pack.json"
INDEX = "index.parquet"
SOURCES = "sources.parquet"
SHARDS = "shards"

ROW_GROUP = 256
ROW_GROUP_BYTES = 64 << 20  # a row group of photographs must not take gigabytes
SHARD_ROWS = 20_000
OPEN_SHARDS = 8

SHARD_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("size", pa.int32(), nullable=False),
        pa.field("sha256", pa.binary(32), nullable=False),
        pa.field("data", pa.binary(), nullable=False),
    ]
)
INDEX_SCHEMA = pa.schema(
    [
        pa.field("folder", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("rows", pa.int32(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)
SOURCES_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, order=True)
class Shard:
    """One Parquet file with images of one folder."""

    folder: str
    shard: str
    rows: int
    bytes: int


@dataclass(frozen=True, order=True)
class Source:
    """One file kept verbatim."""

    path: str
    bytes: int
    sha256: str


def shard_path(folder: str, part: int) -> str:
    """Path below the pack's root of the `part`-th shard of `folder`."""
    return join(join(SHARDS, folder), f"{part:05d}.parquet")


def write_shard(target: Path, folder: str, images: Iterable[tuple[str, bytes]]) -> tuple[int, int]:
    """Publish a shard of (name, bytes), which come sorted; returns rows and bytes."""
    schema = SHARD_SCHEMA.with_metadata({"folder": folder, "pack": str(FORMAT["version"])})
    rows = size = 0
    with atomic_path(target) as temporary, pq.ParquetWriter(temporary, schema, **_writer_options()) as writer:
        for group in _row_groups(images):
            writer.write_table(_table(group, schema), row_group_size=len(group))
            rows += len(group)
            size += sum(len(data) for _, data in group)
    return rows, size


def _writer_options() -> dict:
    return {
        "compression": {"name": "zstd", "size": "zstd", "sha256": "none", "data": "none"},
        "use_dictionary": False,
        "write_statistics": ["name"],
    }


def _row_groups(images: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    group: list[tuple[str, bytes]] = []
    size = 0
    for name, data in images:
        group.append((name, data))
        size += len(data)
        if len(group) == ROW_GROUP or size >= ROW_GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _table(group: list[tuple[str, bytes]], schema: pa.Schema) -> pa.Table:
    names, data = zip(*group, strict=True)
    hashes = [hashlib.sha256(image).digest() for image in data]
    sizes = [len(image) for image in data]
    columns = [pa.array(column, field.type) for column, field in zip((names, sizes, hashes, data), schema, strict=True)]
    return pa.Table.from_arrays(columns, schema=schema)


def write_listing(root: Path, shards: Iterable[Shard], sources: Iterable[Source]) -> None:
    """Publish the pack's index, sources and, last, its mark."""
    for name, schema, rows in ((INDEX, INDEX_SCHEMA, shards), (SOURCES, SOURCES_SCHEMA, sources)):
        table = pa.Table.from_pylist([vars(row) for row in sorted(rows)], schema=schema)
        with atomic_path(root / name) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    atomic_write_text(root / MARK, json.dumps(FORMAT) + "\n")


def is_pack(root: Path) -> bool:
    """Whether a finished pack lies at `root`."""
    return (root / MARK).is_file()


def is_unfinished(root: Path) -> bool:
    """Whether an import into `root` has begun and never ended."""
    return not is_pack(root) and any((root / SHARDS).rglob("*.parquet"))


def read_listing(root: Path) -> tuple[list[Shard], list[Source]]:
    """Shards and verbatim files of the pack at `root`; MienError when it is damaged or of another version."""
    try:
        mark = json.loads((root / MARK).read_text())
        if mark != FORMAT:
            raise MienError(f"{root / MARK}: {mark} is not {FORMAT}. Mend: import the release again")
        shards = [Shard(**row) for row in pq.read_table(root / INDEX, schema=INDEX_SCHEMA).to_pylist()]
        sources = [Source(**row) for row in pq.read_table(root / SOURCES, schema=SOURCES_SCHEMA).to_pylist()]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise MienError(f"{root}: the pack's listing is damaged ({error}). Mend: import the release again") from error
    for name in {*(s.folder for s in shards if s.folder), *(s.shard for s in shards), *(s.path for s in sources)}:
        if why := unsafe(name):
            raise MienError(f"{root}: the pack lists {name[:120]!r}, which {why}. Mend: import the release again")
    return shards, sources


class _OpenShard:
    """One shard with its names in memory and the row group that was read last."""

    def __init__(self, path: Path) -> None:
        self.file = pq.ParquetFile(path)
        names = self.file.read(columns=["name", "size"])
        self.names: list[str] = names.column("name").to_pylist()
        for name in self.names:
            if "/" in name or unsafe(name):
                raise ValueError(f"it holds an image called {name[:80]!r}")
        self.sizes: list[int] = names.column("size").to_pylist()
        self.rows = {name: row for row, name in enumerate(self.names)}
        counts = [self.file.metadata.row_group(i).num_rows for i in range(self.file.num_row_groups)]
        self.starts = [sum(counts[:i]) for i in range(len(counts))]
        self._group = -1
        self._data: pa.ChunkedArray | None = None

    def read(self, name: str) -> bytes:
        row = self.rows[name]
        group = max(i for i, start in enumerate(self.starts) if start <= row)
        if group != self._group:
            self._data, self._group = self.file.read_row_group(group, columns=["data"]).column(0), group
        assert self._data is not None
        return self._data[row - self.starts[group]].as_py()


def _name_range(path: Path) -> tuple[str, str] | None:
    """First and last name of a shard by its footer, without its rows; None where the footer does not tell."""
    meta = pq.read_metadata(path)
    found = [meta.row_group(i).column(0).statistics for i in range(meta.num_row_groups)]
    told = [group for group in found if group is not None and group.has_min_max]
    if not told or len(told) < len(found):
        return None
    return min(group.min for group in told), max(group.max for group in told)


def _damaged(path: Path, error: Exception) -> MienError:
    return MienError(f"{path}: damaged ({error}). Mend: import the release again")


class PackStore(LooseStore):
    """The release's tree as it was before the import: verbatim files from disk, images from shards."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._folders: dict[str, list[Shard]] = {}
        self._children: dict[str, set[str]] = {}
        for shard in sorted(read_listing(root)[0]):
            self._folders.setdefault(shard.folder, []).append(shard)
            folder = shard.folder
            while folder:
                self._children.setdefault(parent(folder), set()).add(folder.rpartition("/")[2])
                folder = parent(folder)
        self._open: OrderedDict[str, _OpenShard] = OrderedDict()
        self._ranges: dict[str, tuple[str, str] | None] = {}
        self._lock = threading.Lock()

    def _shard(self, shard: Shard) -> _OpenShard:
        with self._lock:
            if shard.shard not in self._open:
                try:
                    self._open[shard.shard] = _OpenShard(self.root / shard.shard)
                except (OSError, ValueError, pa.ArrowException) as error:
                    raise _damaged(self.root / shard.shard, error) from error
            self._open.move_to_end(shard.shard)
            while len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
            return self._open[shard.shard]

    def list(self, folder: str) -> tuple[list[str], list[File]]:
        """Sorted subfolders' names and files of `folder`, packed and verbatim."""
        folders, files = super().list(folder) if (self.root / folder).is_dir() else ([], [])
        if folder == "":
            folders = [name for name in folders if name != SHARDS]
            files = [file for file in files if file.name not in (MARK, INDEX, SOURCES)]
        for shard in self._folders.get(folder, []):
            opened = self._shard(shard)
            files += [File(name, size) for name, size in zip(opened.names, opened.sizes, strict=True)]
        return sorted({*folders, *self._children.get(folder, ())}), sorted(files)

    def _packed(self, path: str) -> _OpenShard | None:
        """The shard that holds the image at `path`, if one does; no other one is opened."""
        name = path.rpartition("/")[2]
        shards = (shard for shard in self._folders.get(parent(path), []) if is_image(name))
        opened = (self._shard(shard) for shard in shards if self._may_hold(shard, name))
        return next((shard for shard in opened if name in shard.rows), None)

    def _may_hold(self, shard: Shard, name: str) -> bool:
        """Whether a name lies between a shard's first and last one; each footer is read once."""
        if shard.shard not in self._ranges:
            try:
                self._ranges[shard.shard] = _name_range(self.root / shard.shard)
            except (OSError, ValueError, pa.ArrowException) as error:
                raise _damaged(self.root / shard.shard, error) from error
        names = self._ranges[shard.shard]
        return names is None or names[0] <= name <= names[1]

    def has(self, path: str) -> bool:
        """Whether `path` is a file of the release, packed or verbatim."""
        return self._packed(path) is not None or super().has(path)

    def local(self, path: str) -> Path | None:
        """Place on disk of a verbatim file; None for a packed image."""
        return None if self._packed(path) else super().local(path)

    def chunks(self, path: str) -> Iterator[bytes]:
        """Bytes of a file, packed or verbatim."""
        shard = self._packed(path)
        if shard is None:
            yield from super().chunks(path)
        else:
            with self._lock:
                data = shard.read(path.rpartition("/")[2])
            yield data

    def images(self, folder: str) -> Iterator[tuple[str, bytes]]:
        """Names and bytes of the images right in `folder`, sorted by name; one row group in memory at a time."""
        shards = self._folders.get(folder, [])
        for shard in shards:
            yield from self._stream(shard)
        if not shards and (self.root / folder).is_dir():
            yield from super().images(folder)

    def _stream(self, shard: Shard) -> Iterator[tuple[str, bytes]]:
        try:
            file = pq.ParquetFile(self.root / shard.shard)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["name", "data"])
                yield from zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(self.root / shard.shard, error) from error
