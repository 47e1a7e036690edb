"""Why git shows a changed lock after a run: stages that gave other bytes from the same code, params and data.

On another kind of processor, or with another number of threads, sums of floats come in another order and end in another
last digit; a training goes on from there. A newcomer who has edited nothing should not have to guess that.
"""

from pathlib import Path
from typing import Any

from pipeline.core.paths import RUNS
from pipeline.run.git import git
from pipeline.run.lock import Stages, lock_stages
from pipeline.run.machine import machine_facts
from pipeline.run.tracking import LOCKS

MOST_NAMES = 4


def _made(entry: dict[str, Any]) -> dict[str, str | None]:
    """Digest of each output but the record of the run, which tells times and is never the same."""
    outs = {out["path"]: out.get("md5") for out in entry.get("outs", ())}
    return {path: md5 for path, md5 in outs.items() if not Path(path).is_relative_to(RUNS)}


def _read(entry: dict[str, Any]) -> tuple[Any, Any, dict[str, str | None]]:
    """What decides a stage's outputs: its command, params and inputs."""
    return entry.get("cmd"), entry.get("params"), {dep["path"]: dep.get("md5") for dep in entry.get("deps", ())}


def other_bytes(before: Stages, now: Stages) -> tuple[list[str], int]:
    """Stages that read the same as before and made something else, and how many made something else in all."""
    changed = [name for name in now if name in before and _made(now[name]) != _made(before[name])]
    return [name for name in changed if _read(now[name]) == _read(before[name])], len(changed)


def why_relocked() -> str:
    """One paragraph on why the locks are not the commit's, with what to do; empty where that is no riddle."""
    before: Stages = {}
    now: Stages = {}
    for lock in LOCKS:
        before |= lock_stages(git("show", f"HEAD:./{lock}"), lock)
        now |= lock_stages(Path(lock).read_text(encoding="utf-8"), lock) if Path(lock).is_file() else {}
    first, count = other_bytes(before, now)
    if not first:
        return ""
    names = ", ".join(first[:MOST_NAMES]) + (f" and {len(first) - MOST_NAMES} more" if len(first) > MOST_NAMES else "")
    facts = machine_facts()
    return (
        f"git shows a changed dvc.lock: {names} made other bytes from the code, params and data of the commit, and "
        f"{count} stages with all that follows. Sums of floats end in another last digit on another kind of processor "
        f"or with other threads (here {facts['processor']}, {facts['threads']} threads); nothing is broken. Commit "
        f"the lock of the machine that you submit from; `git restore {' '.join(LOCKS)}` keeps the commit's."
    )
