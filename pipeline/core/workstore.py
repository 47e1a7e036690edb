"""The content-addressed work store `.work/`: what makes a killed stage resumable and new data cheap.

DVC deletes a stage's outs before it runs. A shard is therefore made once under a key of everything that matters (source
bytes, params, code, weights), sealed with its digest, and linked into the outs; a second run finds it, checks the seal
and links again. Training keeps its checkpoints there, in a folder named by everything that decides the result.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.core.files import atomic_path, atomic_write_text, content_digest, file_digest

STORE = Path(".work")
SETTLED_NS = 2 * 10**9


def work_key(**parts: Any) -> str:
    """Hex sha256 of the named parts (JSON values)."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def stored(stage: str, key: str, suffix: str) -> Path:
    """Where the shard of `key` lies, or would lie."""
    return STORE / stage / f"{key}{suffix}"


def _seal_of(shard: Path) -> Path:
    return shard.with_name(f"{shard.name}.sha256")


def seal(shard: Path) -> None:
    """Write a finished shard's digest beside it, and let nobody write into it: outs may be links to it."""
    atomic_write_text(_seal_of(shard), file_digest(shard) + "\n")
    shard.chmod(0o444)


def is_sealed(shard: Path) -> bool:
    """Whether a shard can be taken: it is there and has the digest of its seal. What has not is dropped.

    A disk that lies, a truncated copy, an editor in the wrong folder: none may reach the outs with its bad digest
    recorded as good.
    """
    try:
        sound = _seal_of(shard).read_text().strip() == file_digest(shard)
    except (OSError, UnicodeDecodeError):
        sound = False
    if not sound:
        shard.unlink(missing_ok=True)
        _seal_of(shard).unlink(missing_ok=True)
    return sound


def known_digest(path: Path) -> str:
    """sha256 of a file, remembered in `.work/digests` as long as its inode, size and times stay.

    Full size is 60 GB of inputs, which a dozen trainings would otherwise read once more each. A file changed within the
    last seconds is not remembered: a clock may be too coarse to tell the next change from it.
    """
    state = _state(path)
    memo = STORE / "digests" / f"{work_key(path=path.as_posix())}.json"
    try:
        known = json.loads(memo.read_text())
        if known["state"] == state:
            return known["sha256"]
    except (OSError, ValueError, KeyError, TypeError):  # absent, torn, or of another shape
        pass
    digest = file_digest(path)
    if state == _state(path) and time.time_ns() - max(state[-2:]) > SETTLED_NS:
        atomic_write_text(memo, json.dumps({"state": state, "sha256": digest}))
    return digest


def _state(path: Path) -> list[int]:
    """What changes when a file does: device, inode, size, and the times of its bytes and of its inode."""
    stat = path.stat()
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def training_folder(stage: str, params: dict[str, Any], inputs: list[Path]) -> Path:
    """`.work/<stage>/<key>`; other keys of the stage are those of runs that cannot be resumed any more.

    The stage's code is among its inputs: `artifacts/code/<stage>.txt`.
    """
    return STORE / stage / work_key(params=params, inputs=content_digest(inputs, known_digest))


def link(source: Path, target: Path) -> None:
    """Make `target` the same bytes as a sealed `source`: a hard link, or a copy where links are not to be had."""
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def prune(stage: str, keep: Iterable[Path]) -> None:
    """Drop what a finished stage no longer uses, so that the store holds one generation a stage."""
    kept = {path.resolve() for shard in keep for path in (shard, _seal_of(shard))}
    for path in (STORE / stage).glob("*"):
        if path.resolve() not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
