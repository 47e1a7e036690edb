"""`mien data import`: an official release becomes Parquet shards, in one pass over its bytes.

Each folder's images go into shards, every other file is kept verbatim (raw videos by hard link where the file
system allows). A folder is one job of a thread pool: reading, hashing and writing all release the interpreter. What
is finished stands in a ledger under `.work`: a second run touches only what is new or changed, a killed run goes on.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.errors import MienError
from pipeline.core.files import atomic_path
from pipeline.core.suffixes import is_image, is_video
from pipeline.release.discover import discover, is_empty
from pipeline.release.files import File, Store, join
from pipeline.release.ledger import Ledger
from pipeline.release.mounts import open_source
from pipeline.release.pack import (
    INDEX,
    MARK,
    SHARD_ROWS,
    SHARDS,
    SOURCES,
    Shard,
    Source,
    is_pack,
    read_listing,
    shard_path,
    write_listing,
    write_shard,
)
from pipeline.run.progress import Progress

WORK = Path(".work/import")
RESERVED = frozenset({SHARDS, MARK, INDEX, SOURCES})
MAX_PACKED_BYTES = 256 << 20  # a larger "image" is kept as a file of its own
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass
class ImportSummary:
    """What an import did. `stale`: outputs of earlier imports that this source does not have; they are kept."""

    target: Path
    images: int = 0
    files: int = 0
    bytes: int = 0
    made: int = 0
    kept: int = 0
    seconds: float = 0.0
    stale: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Folder:
    path: str
    files: int
    bytes: int


def import_release(source: Path, target: Path, work: Path | None = None, threads: int | None = None) -> ImportSummary:
    """Pack the release at `source` (folder, archive or folder of archives) into `target`.

    `work` holds the ledger and what has to be decompressed. MienError when `source` holds nothing of ABAW, an archive
    is unsafe, a file cannot be read, or `target` is something else than a pack.
    """
    work = work or WORK / target.name
    store = open_tree(source, target, work)
    if is_empty(discover(source, store)):
        raise MienError(f"{source}: nothing of an official release. Mend: `mien data validate` says what it looks for")
    return pack_tree(store, source, target, work, threads)


def open_tree(source: Path, target: Path, work: Path) -> Store:
    """The tree of `source`, which is no pack yet and does not lie in its own target."""
    _vet_places(source, target)
    store = open_source(source, work)
    if is_pack(source) or not RESERVED.isdisjoint({*store.list("")[0], *(file.name for file in store.list("")[1])}):
        raise MienError(f"{source} holds {', '.join(sorted(RESERVED))}: it is a pack already", exit_code=2)
    return store


def pack_tree(store: Store, source: Path, target: Path, work: Path, threads: int | None = None) -> ImportSummary:
    """Pack a tree of images and other files, whatever they are."""
    started = time.monotonic()
    _sweep(target)
    folders = list(_folders(store, ""))
    summary = ImportSummary(target)
    with closing(Ledger(work / "ledger.jsonl", source)) as ledger:
        progress = Progress("import", sum(f.files for f in folders), "files")
        with progress, ThreadPoolExecutor(threads or min(16, 2 * (os.cpu_count() or 1))) as pool:
            job = _Job(store, target, ledger, progress)
            entries = _gather(pool, job, folders)
    shards = [Shard(e["folder"], e["output"], e["rows"], e["bytes"]) for e in entries if "rows" in e]
    sources = [Source(e["output"], e["bytes"], e["sha256"]) for e in entries if "rows" not in e]
    _publish(target, shards, sources, ledger, summary)
    for path in work.glob("*.tar"):
        path.unlink()
    summary.images, summary.files = sum(s.rows for s in shards), len(sources)
    summary.bytes = sum(s.bytes for s in shards) + sum(s.bytes for s in sources)
    summary.made, summary.kept = job.made, len(entries) - job.made
    summary.seconds = time.monotonic() - started
    return summary


def pack_place(name: str, root: Path = Path("data/raw")) -> Path:
    """Where the pack called `name` lies; MienError when that is no plain name."""
    if not NAME.fullmatch(name):
        raise MienError(f"{name!r} is no name of a pack. Mend: letters, digits, dot, dash, underscore", exit_code=2)
    return root / name


def _vet_places(source: Path, target: Path) -> None:
    here, there = source.resolve(), target.resolve()
    if here == there or here.is_relative_to(there) or there.is_relative_to(here):
        raise MienError(f"{target} and {source} lie within each other. Mend: import from elsewhere", exit_code=2)
    if target.is_file():
        raise MienError(f"{target} is a file. Mend: choose another --name", exit_code=2)
    if target.exists() and not is_pack(target) and not (target / SHARDS).is_dir() and any(target.iterdir()):
        raise MienError(f"{target} exists and is no pack. Mend: choose another --name", exit_code=2)


def _sweep(target: Path) -> None:
    """Remove what a killed run left half-written."""
    for path in target.rglob(".*.tmp-*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _folders(store: Store, folder: str, depth: int = 0) -> Iterator[_Folder]:
    """Folders with files, counted; their listings are not kept, for there may be millions of names."""
    if depth > 32:
        raise MienError(f"{folder}: folders nest deeper than 32. Mend: remove links that lead in circles")
    folders, files = store.list(folder)
    if files:
        yield _Folder(folder, len(files), sum(file.size for file in files))
    for child in folders:
        yield from _folders(store, join(folder, child), depth + 1)


def _gather(pool: ThreadPoolExecutor, job: "_Job", folders: list[_Folder]) -> list[dict]:
    """Entries of all folders; the first failure stops the import once running jobs have ended."""
    pending: set[Future[list[dict]]] = {pool.submit(job.folder, folder.path) for folder in folders}
    entries: list[dict] = []
    try:
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                entries += future.result()
    finally:
        for future in pending:
            future.cancel()
    return entries


class _Job:
    """Imports one folder after another; shared by the threads."""

    def __init__(self, store: Store, target: Path, ledger: Ledger, progress: Progress) -> None:
        self.store, self.target, self.ledger, self.progress = store, target, ledger, progress
        self.made = 0

    def folder(self, folder: str) -> list[dict]:
        """Shards of the folder's images and copies of its other files."""
        files = self.store.list(folder)[1]
        packed = [file for file in files if is_image(file.name) and file.size <= MAX_PACKED_BYTES]
        names = {file.name for file in packed}
        entries = [self._verbatim(join(folder, file.name), file) for file in files if file.name not in names]
        for part, start in enumerate(range(0, len(packed), SHARD_ROWS)):
            entries.append(self._shard(folder, part, packed[start : start + SHARD_ROWS]))
        return entries

    def _shard(self, folder: str, part: int, files: list[File]) -> dict:
        output = shard_path(folder, part)
        fingerprint = _fingerprint(files)
        entry = self.ledger.find(output, fingerprint, self.target / output)
        if entry is None:
            rows, size = write_shard(self.target / output, folder, self._images(folder, files))
            entry = self.ledger.add(output, fingerprint, self.target / output, folder=folder, rows=rows, bytes=size)
            self.made += 1
        else:
            self.progress.advance(len(files))
        return entry

    def _images(self, folder: str, files: list[File]) -> Iterator[tuple[str, bytes]]:
        for file in files:
            data = self.store.read(join(folder, file.name))
            self.progress.advance()
            yield file.name, data

    def _verbatim(self, path: str, file: File) -> dict:
        fingerprint = _fingerprint([file])
        target = self.target / path
        entry = self.ledger.find(path, fingerprint, target)
        if entry is None:
            size, digest = _keep(self.store, path, target)
            entry = self.ledger.add(path, fingerprint, target, bytes=size, sha256=digest)
            self.made += 1
        self.progress.advance()
        return entry


def _fingerprint(files: list[File]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.size}\0{file.stamp}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _keep(store: Store, path: str, target: Path) -> tuple[int, str]:
    """Copy one file, or link a raw video; returns bytes and sha256."""
    local = store.local(path) if is_video(path) else None
    digest, size = hashlib.sha256(), 0
    with atomic_path(target) as temporary:
        linked = local is not None and _linked(local, temporary)
        with open(os.devnull if linked else temporary, "wb") as sink:
            for chunk in store.chunks(path):
                sink.write(chunk)
                digest.update(chunk)
                size += len(chunk)
    return size, digest.hexdigest()


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _publish(target: Path, shards: list[Shard], sources: list[Source], ledger: Ledger, summary: ImportSummary) -> None:
    """Write the listing. What this source no longer has is removed; what other sources brought stays."""
    old_shards, old_sources = _former(target)
    outputs = {shard.shard for shard in shards} | {source.path for source in sources}
    stale_shards = [shard for shard in old_shards if shard.shard not in outputs]
    stale_sources = [source for source in old_sources if source.path not in outputs]
    for path in [shard.shard for shard in stale_shards] + [source.path for source in stale_sources]:
        if ledger.brought(path):
            (target / path).unlink(missing_ok=True)
        else:
            summary.stale.append(path)
    shards += [shard for shard in stale_shards if not ledger.brought(shard.shard)]
    sources += [source for source in stale_sources if not ledger.brought(source.path)]
    write_listing(target, shards, sources)


def _former(target: Path) -> tuple[list[Shard], list[Source]]:
    """The listing of the pack as it was; nothing when there was none or it is damaged, which this import mends."""
    try:
        return read_listing(target) if is_pack(target) else ([], [])
    except MienError:
        return [], []
