"""A lock that was cut short: DVC writes it in place, and whoever is killed then leaves an empty file or a first part.

DVC takes the first part for all: every stage behind it would run again. `mien repro` keeps a copy of the lock after
each stage, and starts from it where the lock is cut.
"""

from pathlib import Path

from pipeline.core.errors import MienError
from pipeline.core.files import atomic_write_text
from pipeline.run.environment import STATE
from pipeline.run.lock import Stages, lock_stages

LOCK, KEPT = Path("dvc.lock"), STATE / "dvc.lock"


def keep_lock() -> None:
    """Keep a copy of the lock, unless somebody is writing it just now: DVC drops no stage of it."""
    text, kept = _read(LOCK), _stages(_read(KEPT))
    stages = _stages(text)
    if text and stages.keys() >= kept.keys() and not is_cut(text, stages, kept):
        atomic_write_text(KEPT, text)


def mend_lock() -> str:
    """Put the kept copy in place of a lock that is cut, and say so; "" where there is nothing to mend."""
    text, kept = _read(LOCK), _read(KEPT)
    if text is None or not kept:
        return ""
    if is_cut(text, _stages(text), _stages(kept)):
        atomic_write_text(LOCK, kept)
        return f"{LOCK} was cut short when DVC was killed; it is again as the last stage left it ({KEPT})"
    if not _is_conflict(text):
        atomic_write_text(KEPT, text)  # also one that git or the user has put there
    return ""


def is_cut(text: str, stages: Stages, kept: Stages) -> bool:
    """Whether a lock of these stages ends too early: within a line, or before all outputs that its last stage had."""
    if _is_conflict(text):  # of a merge: for the user to mend
        return False
    if not text.endswith("\n") or not stages:
        return True
    name = list(stages)[-1]
    return not _outs(kept.get(name, {})) <= _outs(stages[name])


def _outs(stage: dict) -> set[tuple[str, ...]]:
    """Each output with the names of what is told of it: the last ones may be missing."""
    return {(str(out.get("path")), *sorted(out)) for out in stage.get("outs") or []}


def _is_conflict(text: str) -> bool:
    return "<<<<<<<" in text


def _stages(text: str | None) -> Stages:
    try:
        return lock_stages(text or "", LOCK.name)
    except MienError:
        return {}


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
