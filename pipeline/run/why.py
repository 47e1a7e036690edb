"""`mien why STAGE`: which file of code, library, param or data made a stage stale since the lock.

DVC says that a stage's code file has changed, not what in it: its former text is taken from DVC's cache by the digest
in the lock and compared with the code as it is now, line by line.
"""

from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage import Stage

from pipeline.core.code import code_lines, stage_modules
from pipeline.core.errors import MienError
from pipeline.core.paths import CODE
from pipeline.run.edits import ABSENT, differences
from pipeline.run.repository import repository

WITHOUT_EFFECT = ("code", "check_params")  # the first is looked into, the output of the second never changes


def reasons(name: str) -> list[str]:
    """What makes a stage stale, a line each; none when it is up to date. `MienError` for an unknown stage."""
    with repository() as repo:
        try:
            (stage,) = repo.stage.collect(name)
            status: dict[str, list[Any]] = repo.status(targets=[name], with_deps=True)
        except (DvcException, ValueError):
            raise MienError(f"{name}: no such stage; `dvc stage list` names all", exit_code=2) from None
        found = code_reasons(repo, stage) + param_reasons(stage)
        for entry in status.pop(stage.addressing, []):
            found += _entry_reasons(entry)
    upstream = [other for other in status if other not in WITHOUT_EFFECT]
    return found + [f"upstream: {other} is stale too" for other in sorted(upstream)]


def _entry_reasons(entry: Any) -> list[str]:
    """One entry of DVC's status, the code file and params apart."""
    if isinstance(entry, str):
        return [f"command: {entry.removeprefix('changed ')} of dvc.yaml has changed"]
    found = []
    for kind, paths in entry.items():
        for path, state in paths.items():
            if not isinstance(state, dict) and not Path(path).is_relative_to(CODE):
                found.append(f"{'data' if kind == 'changed deps' else 'output'}: {path} is {state}")
    return found


def param_reasons(stage: Stage) -> list[str]:
    """Which values of params have changed since the lock, by their full names; DVC tells whole sections alone."""
    found = []
    for dep in stage.deps:
        if isinstance(dep, ParamsDependency):
            former = dict((dep.hash_info.value if dep.hash_info else None) or {})
            present = dep.read_params()
            for name in dep.params:
                found += differences(name, former.get(name, ABSENT), present.get(name, ABSENT))
    return found


def code_reasons(repo: Repo, stage: Stage) -> list[str]:
    """What in the code that a stage reaches has changed since the lock."""
    found = []
    for dep in stage.deps:
        path = Path(dep.def_path)
        if path.is_relative_to(CODE):
            former = _former_text(repo, dep, path)
            if former is None:
                return [f"code: no former {path} to compare with: the stage has never run, or the cache lacks it"]
            found += compare(former.splitlines(), code_lines(*stage_modules()[path.stem]))
    return found


def _former_text(repo: Repo, dep: Any, path: Path) -> str | None:
    """The code file as the lock knows it, from DVC's cache; None where it lacks it."""
    if not dep.hash_info:
        return None
    cached = Path(repo.cache.local.oid_to_path(dep.hash_info.value))
    return cached.read_text() if cached.is_file() else None


def compare(former: list[str], present: list[str]) -> list[str]:
    """Files and libraries that differ between two code files."""
    before, after = _by_name(former), _by_name(present)
    found = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if name.endswith(".py"):
            how = "is new to it" if old is None else "is not reached any more" if new is None else "has changed"
            found.append(f"code: {name} {how}")
        else:
            found.append(f"library: {name} {old or 'none'} -> {new or 'none'}")
    return found


def _by_name(lines: list[str]) -> dict[str, str]:
    """`path digest` and `name==version` lines by path and name."""
    return dict(line.split("==" if "==" in line else " ", 1) for line in lines)


def tell(name: str) -> int:
    """Print the reasons; 0 when the stage is up to date, 1 when it is stale."""
    found = reasons(name)
    print(f"{name} is stale:" if found else f"{name} is up to date")
    for reason in found:
        print(f"  {reason}")
    return 1 if found else 0
