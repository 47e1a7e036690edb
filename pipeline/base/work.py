"""The content-addressed work store `.work/`: what makes a killed stage resumable and new data cheap.

DVC deletes a stage's outs before it runs. A shard is therefore made once under a key of everything that matters (source
bytes, params, code, weights) and linked into the outs; a second run finds it and links again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.publish import atomic_path

STORE = Path(".work")


def work_key(**parts: Any) -> str:
    """Hex sha256 of the named parts (JSON values)."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def stored(stage: str, key: str, suffix: str) -> Path:
    """Where the shard of `key` lies, or would lie."""
    return STORE / stage / f"{key}{suffix}"


def link(source: Path, target: Path) -> None:
    """Make `target` the same bytes as `source`: a hard link, or a copy where links are not to be had."""
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def prune(stage: str, keep: Iterable[Path]) -> None:
    """Drop what a finished stage no longer uses, so that the store holds one generation a stage."""
    kept = {path.resolve() for path in keep}
    for path in (STORE / stage).glob("*"):
        if path.resolve() not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
