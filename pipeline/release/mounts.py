"""A source of an import as one tree: a folder, an archive, or a folder of archives as they are downloaded."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import MienError
from pipeline.core.suffixes import is_image
from pipeline.release.archives import ArchiveStore, archive_stem
from pipeline.release.discover import is_meaningful
from pipeline.release.files import File, LooseStore, Store, join, parent

ARCHIVE_DEPTH = 2  # archives are looked for in the source and in its subfolders, not among a million crops


def open_source(source: Path, work: Path) -> Store:
    """The tree of `source`; its archives count as unpacked where they lie. `work` takes what has to be decompressed."""
    if source.is_file():
        if archive_stem(source.name) is None:
            raise MienError(f"{source}: neither a folder nor an archive", exit_code=2)
        store = ArchiveStore(source, work)
        return MountedStore(None, [(_mount("", source.name, store), store)])
    if not source.is_dir():
        raise MienError(f"{source}: no such folder or archive. Mend: check the path", exit_code=2)
    loose = LooseStore(source)
    mounts: list[tuple[str, Store]] = []
    for path in _archives(loose, "", ARCHIVE_DEPTH):
        archive = ArchiveStore(source / path, work)
        mounts.append((_mount(parent(path), path.rpartition("/")[2], archive), archive))
    return MountedStore(loose, mounts) if mounts else loose


def _archives(store: LooseStore, folder: str, depth: int) -> Iterator[str]:
    folders, files = store.list(folder)
    yield from (join(folder, file.name) for file in files if archive_stem(file.name) is not None)
    for child in folders if depth > 1 else []:
        yield from _archives(store, join(folder, child), depth - 1)


def _mount(folder: str, name: str, store: Store) -> str:
    """Where an archive's content belongs: beside it, or in a folder of its name when that name means something.

    `cropped_aligned.zip` may hold `cropped_aligned/122/...` or just `122/...`.
    """
    stem = archive_stem(name) or name
    return join(folder, stem) if is_meaningful(stem) and stem not in store.list("")[0] else folder


class MountedStore:
    """A loose folder with archives mounted in it; a loose file wins over one in an archive."""

    def __init__(self, loose: LooseStore | None, mounts: list[tuple[str, Store]]) -> None:
        self._loose = loose
        self._mounts = mounts

    def _places(self, path: str) -> Iterator[tuple[Store, str]]:
        """Stores that may hold `path`, with its path inside each."""
        if self._loose is not None:
            yield self._loose, path
        for mount, store in self._mounts:
            if mount == "" or path == mount:
                yield store, "" if path == mount else path
            elif path.startswith(f"{mount}/"):
                yield store, path[len(mount) + 1 :]

    def list(self, folder: str) -> tuple[list[str], list[File]]:
        """Sorted subfolders' names and files of `folder` over all stores, the archives themselves left out."""
        prefix = f"{folder}/" if folder else ""
        folders = {mount[len(prefix) :].split("/")[0] for mount, _ in self._mounts if mount.startswith(prefix)}
        files: dict[str, File] = {}
        for store, inner in self._places(folder):
            if store is self._loose and not (self._loose.root / inner).is_dir():
                continue
            found, listed = store.list(inner)
            folders.update(found)
            for file in listed:
                files.setdefault(file.name, file)
        return sorted(folders - {""}), sorted(file for file in files.values() if archive_stem(file.name) is None)

    def has(self, path: str) -> bool:
        """Whether a store holds the file."""
        return any(store.has(inner) for store, inner in self._places(path))

    def _holder(self, path: str) -> tuple[Store, str]:
        for store, inner in self._places(path):
            if store.has(inner):
                return store, inner
        raise MienError(f"{path}: no such file in the source")

    def local(self, path: str) -> Path | None:
        """Place on disk of a loose file; None for a member of an archive."""
        store, inner = self._holder(path)
        return store.local(inner)

    def read(self, path: str) -> bytes:
        """Bytes of one file."""
        return b"".join(self.chunks(path))

    def chunks(self, path: str) -> Iterator[bytes]:
        """Bytes of one file in pieces."""
        store, inner = self._holder(path)
        return store.chunks(inner)

    def images(self, folder: str) -> Iterator[tuple[str, bytes]]:
        """Names and bytes of the images right in `folder`, sorted by name."""
        for file in self.list(folder)[1]:
            if is_image(file.name):
                yield file.name, self.read(join(folder, file.name))
