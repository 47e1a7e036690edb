"""A submission made again from nothing: its commit cloned, its environment, its data, `dvc repro`.

The clone has a cache of its own, so no byte of it comes from an earlier run; only data that no stage made are taken
from here. It lies in `.work/rebuild/<commit>`; where a rebuild was killed, the next goes on from its finished stages.
"""

import os
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from pipeline.audit.case import Case
from pipeline.audit.states import git_bytes
from pipeline.core.errors import MienError
from pipeline.core.workstore import STORE
from pipeline.run.dag import run_dvc
from pipeline.run.supervise import run_supervised
from pipeline.run.tracking import LOCKS

HOME = STORE / "rebuild"
OWN_STATE = ("MLFLOW_", "PREFECT_", "DVC_", "MIEN_FLOW_RUN")  # variables that lead to the workspace's records
STDERR = 2  # so that an answer for machines stays alone on standard output
PINNED = re.compile(r"^([A-Za-z0-9][\w.-]*==[^\\]+?)\s*\\?$", re.MULTILINE)


def rebuild(case: Case) -> Path:
    """Make the case's submission again; returns the project's root in the clone. `MienError` where a step fails."""
    if not case.hit.commits:
        raise MienError("dvc.lock is not committed, so there is no commit to rebuild; `git commit` it first")
    root = _clone(case)
    binaries = _environment(root)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OWN_STATE)}
    environment |= {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    if threads := _threads(case):
        environment["OMP_NUM_THREADS"] = str(threads)
    _tell(f"rebuilding {case.hit.stage} of {case.hit.commits[0][:12]} in {root}")
    code = run_supervised([str(binaries / "dvc"), "repro", case.hit.stage], root, environment, STDERR)
    if code > 128:
        raise KeyboardInterrupt
    if code:
        raise MienError(f"{root}: dvc repro {case.hit.stage} failed, its message stands above; run again to go on")
    return root


def _tell(line: str) -> None:
    """How far it is, beside the answer."""
    print(line, file=sys.stderr, flush=True)


def _clone(case: Case) -> Path:
    """The commit in a folder of its own with its data and without its lock, so that every stage has to run."""
    prefix = git_bytes("rev-parse", "--show-prefix").decode().strip()
    target, draft = (HOME / f"{case.hit.commits[0][:12]}{end}" for end in ("", ".tmp"))
    if not target.exists():
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
        top = git_bytes("rev-parse", "--show-toplevel").decode().strip()
        git_bytes("clone", "--quiet", "--shared", "--no-checkout", top, str(draft))
        git_bytes("-C", str(draft), "checkout", "--quiet", "--detach", case.hit.commits[0])
        root = draft / prefix
        _bring_data(case, root)
        for lock in LOCKS:
            (root / lock).unlink(missing_ok=True)
        draft.rename(target)
    return target / prefix


def _bring_data(case: Case, root: Path) -> None:
    """Check the data that no stage made out of this workspace's cache, or pull what it lacks."""
    config = Path(".dvc/config.local")
    if config.is_file():  # remotes and their credentials
        shutil.copyfile(config, root / config)
    cache = case.objects.folder.resolve()
    for name, value in (("cache.dir", str(cache)), ("cache.type", "reflink,hardlink,copy")):
        run_dvc("config", "--local", name, value, folder=root)
    for path in sorted(case.data):
        try:
            run_dvc("checkout", f"{path}.dvc", folder=root)
        except MienError:  # not all of it is in the cache
            run_dvc("pull", f"{path}.dvc", folder=root)
    # its own from now on, below `root`, which is still to be renamed
    run_dvc("config", "--local", "--unset", "cache.dir", folder=root)


def _environment(root: Path) -> Path:
    """The folder of programs to run the commit with: this environment's where it holds what the commit's locks pin."""
    locks = [root / name for name in ("requirements.lock", "demo/requirements.lock")]
    if unlike := [line for lock in locks if lock.is_file() for line in _not_here(lock.read_text(encoding="utf-8"))]:
        _tell(f"setting up the commit's environment: it has {unlike[0]}, and this one has not")
        if run_supervised(["make", "setup"], root, output=STDERR):
            raise MienError(f"{root}: make setup failed, its message stands above")
        return (root / ".venv/bin").resolve()
    return Path(sys.executable).parent


def _not_here(lock: str) -> list[str]:
    """Pins of a lock that this environment does not have at that version."""
    return [pin for pin in PINNED.findall(lock) if not _is_here(pin)]


def _is_here(pin: str) -> bool:
    try:
        wanted = Requirement(pin)
        if wanted.marker and not wanted.marker.evaluate():
            return True
        return wanted.specifier.contains(version(wanted.name), prereleases=True)
    except (InvalidRequirement, PackageNotFoundError):
        return False


def _threads(case: Case) -> int | None:
    """Threads of the first run, where its stages tell of one number."""
    told = {record["machine"]["threads"] for record in case.runs.values() if record.get("machine")}
    return told.pop() if len(told) == 1 else None
