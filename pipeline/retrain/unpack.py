"""Archives in the inbox: their files count as files of the inbox, unpacked whole or not at all.

`batch7.zip` stands for a folder `batch7`: `unlabelled.zip` is the pool, `cropped_aligned.zip` crops. Names, counts and
sizes are bounded as in `mien data import`, and by the free disk.
"""

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path

from pipeline.core.errors import MienError
from pipeline.core.files import atomic_dir, write_json
from pipeline.core.workstore import STORE
from pipeline.release.archives import ArchiveStore, archive_stem
from pipeline.release.files import Store, join
from pipeline.retrain.inbox import Arrival
from pipeline.retrain.outcome import Intake

UNPACKED = STORE / "retrain" / "unpacked"
INDEX = ".files.json"  # hidden, and so no member's name
SPARE = 2.0  # free disk for the files, their copies in the release and DVC's cache


def is_archive(name: str) -> bool:
    """Whether a file of the inbox is one that holds others."""
    return archive_stem(name) is not None


def members(archive: Arrival) -> list[Arrival]:
    """The files of an archive, unpacked once; `MienError` where it is damaged, unsafe or too large."""
    folder = UNPACKED / archive.md5
    if not (folder / INDEX).is_file():
        with atomic_dir(folder) as target:
            _unpack(archive.path, target)
    stem = archive_stem(archive.name) or archive.name
    listed: dict[str, str] = json.loads((folder / INDEX).read_text())
    return [Arrival(f"{stem}/{name}", folder / name, md5) for name, md5 in listed.items() if (folder / name).is_file()]


def _unpack(path: Path, target: Path) -> None:
    store = ArchiveStore(path, target / ".tar")
    sizes = _files(store)
    if not sizes:
        raise MienError("nothing is in it")
    size, free = sum(sizes.values()), shutil.disk_usage(target).free
    if size * SPARE > free:
        raise MienError(f"unpacked it takes {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")
    index = {}
    for name in sorted(sizes):
        digest, place = hashlib.md5(usedforsecurity=False), target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            for chunk in store.chunks(name):
                file.write(chunk)
                digest.update(chunk)
        index[name] = digest.hexdigest()
    shutil.rmtree(target / ".tar", ignore_errors=True)
    write_json(target / INDEX, index)


def _files(store: Store, folder: str = "") -> dict[str, int]:
    """Bytes of each file below a folder of an archive."""
    folders, files = store.list(folder)
    found = {join(folder, file.name): file.size for file in files}
    for child in folders:
        found |= _files(store, join(folder, child))
    return found


def opened(arrivals: list[Arrival], done: Collection[str], intake: Intake) -> list[Arrival]:
    """The files of the inbox with those of its archives in their places; `done` are md5s of archives that are known."""
    found: list[Arrival] = []
    for arrival in arrivals:
        if not is_archive(arrival.name):
            found.append(arrival)
        elif arrival.md5 in done:
            intake.known += 1
        else:
            try:
                found += members(arrival)
            except MienError as error:
                intake.bad[arrival] = str(error).removeprefix(f"{arrival.path}: ")
    return found


def settle(arrivals: list[Arrival], intake: Intake) -> None:
    """Say of each archive what becomes of it: done where no file of it waits, bad where none of it can be taken."""
    waiting, taken = ({_archive_of(arrival) for arrival in group} for group in (intake.waiting, intake.taken))
    bad = {_archive_of(arrival) for arrival in intake.bad}
    for archive in arrivals:
        if not is_archive(archive.name) or archive in intake.bad or archive.md5 in waiting:
            continue
        if archive.md5 in bad and archive.md5 not in taken:
            intake.bad[archive] = "nothing of it can be taken; the reason of each file lies beside it"
        elif archive.md5 in taken:
            intake.unpacked[archive.name] = archive.md5


def _archive_of(arrival: Arrival) -> str | None:
    """md5 of the archive that a file was unpacked from; None where it lies in the inbox itself."""
    parts, depth = arrival.path.parts, len(UNPACKED.parts)
    return parts[depth] if parts[:depth] == UNPACKED.parts else None


def forget(arrivals: list[Arrival], done: Collection[str]) -> None:
    """Remove what was unpacked of archives that are done or no longer there."""
    kept = {arrival.md5 for arrival in arrivals} - set(done)
    for folder in UNPACKED.iterdir() if UNPACKED.is_dir() else ():
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)
