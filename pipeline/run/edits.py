"""What of params.yaml has been edited since the lock, and which stages each edit reaches.

An anchor (`&train`) makes one line stand for a value of many systems, and DVC then runs all of them without a word of
why. The lock holds the values that each stage last ran with, so an edit can be told value by value.
"""

from pathlib import Path
from typing import Any

from pipeline.run.lock import lock_stages

ABSENT = "none"
MOST_LINES = 40


def differences(name: str, former: Any, present: Any) -> list[str]:
    """Each value below `name` that is not the same, before and now."""
    if isinstance(former, dict) and isinstance(present, dict):
        names = sorted(former.keys() | present.keys())
        return [d for n in names for d in differences(f"{name}.{n}", former.get(n, ABSENT), present.get(n, ABSENT))]
    return [] if former == present else [f"params: {name} {former} -> {present}"]


def edits(tree: dict[str, Any], lock: Path) -> dict[str, list[str]]:
    """Each edit (`params: systems.vit.train.balance 0.5 -> 1.0`) with the stages that read it; none without a lock.

    `tree` is params.yaml as it stands. A section that is gone, as a training's that was taken out, is no edit.
    """
    locked = lock_stages(lock.read_text(encoding="utf-8"), lock.name) if lock.is_file() else {}
    found: dict[str, list[str]] = {}
    for stage, entry in locked.items():
        for name, former in (entry.get("params", {}).get("params.yaml") or {}).items():
            present = _value(tree, name)
            for edit in differences(name, former, present) if present is not None else ():
                found.setdefault(edit, []).append(stage)
    return found


def told(found: dict[str, list[str]]) -> list[str]:
    """A line an edit, in the order of the names; the rest as a count where they are many."""
    lines = [f"{edit} (read by {', '.join(stages)})" for edit, stages in sorted(found.items())]
    more = len(lines) - MOST_LINES
    return lines[:MOST_LINES] + ([f"params: and {more} edits more; `dvc params diff` has all"] if more > 0 else [])


def _value(tree: Any, name: str) -> Any:
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
