"""What lies in the inbox: whole files with their digests, and those that are still being written."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.files import atomic_write_text, file_digest, write_json
from pipeline.release.files import is_shown
from pipeline.run.environment import STATE

DIGESTS = STATE / "retrain" / "digests.json"
PARTIAL = (".part", ".partial", ".tmp", ".filepart", ".crdownload", ".download", ".temp")


@dataclass(frozen=True, order=True)
class Arrival:
    """A whole file of the inbox: its path there, where it lies, and its md5."""

    name: str
    path: Path
    md5: str


@dataclass(frozen=True)
class Look:
    """What a look found: whole files, and the names of those that may still be written."""

    whole: list[Arrival]
    unsettled: list[str]


def look(inbox: Path, settle_seconds: float) -> Look:
    """Look at the inbox. A file is whole when neither its bytes nor its name have changed for `settle_seconds`.

    Digests are remembered as long as inode, size and times stay: a look at what is known costs no reading.
    """
    known = _remembered()
    seen: dict[str, list] = {}
    whole, unsettled = [], []
    for name, path in _files(inbox):
        stat = path.stat()
        state = [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        if name.lower().endswith(PARTIAL) or time.time() - stat.st_ctime < settle_seconds:
            unsettled.append(name)
            continue
        former = known.get(name)
        md5 = former[1] if former and former[0] == state else file_digest(path, "md5")
        seen[name] = [state, md5]
        whole.append(Arrival(name, path, md5))
    if seen != known:
        write_json(DIGESTS, seen)
    return Look(whole, unsettled)


def _files(inbox: Path) -> Iterator[tuple[str, Path]]:
    """Shown files below the inbox, sorted; what vanishes meanwhile is left out."""
    for folder, folders, files in os.walk(inbox):
        folders[:] = sorted(filter(is_shown, folders))
        for name in sorted(filter(is_shown, files)):
            path = Path(folder, name)
            if path.is_file():
                yield path.relative_to(inbox).as_posix(), path


def _remembered() -> dict[str, list]:
    try:
        known = json.loads(DIGESTS.read_text())
        return known if isinstance(known, dict) else {}
    except (OSError, ValueError):  # absent or torn: read anew
        return {}


def set_aside(arrival: Arrival, reason: str, folder: Path) -> Path:
    """Move a file that cannot be taken out of the inbox, its reason beside it; nothing is overwritten."""
    target = folder / arrival.name
    number = 1
    while target.exists():
        number += 1
        target = (folder / arrival.name).with_stem(f"{Path(arrival.name).stem}.{number}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(arrival.path, target)
    atomic_write_text(target.with_name(f"{target.name}.reason.txt"), reason + "\n")
    return target
