"""A clean git worktree in which the graph is run, so that nobody's own tree is touched.

It shares DVC's cache (so what has run once is not run again) and MLflow's and Prefect's state. Its work store is its
own: a stage that ends drops from the store what it did not use, and must not drop what a run in the user's tree is
using. Shards that the user's store has are linked in first; a shard is checked against its seal before it is taken.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import yaml

from pipeline.core.errors import MienError
from pipeline.core.files import atomic_path, atomic_write_bytes, file_digest
from pipeline.core.params import PARAMS
from pipeline.core.workstore import STORE, link
from pipeline.retrain.git import commit, git
from pipeline.retrain.outcome import Intake
from pipeline.run.command import TOLD
from pipeline.run.dag import run_dvc
from pipeline.run.environment import STATE, TITLE
from pipeline.run.supervise import end_tree, run_supervised
from pipeline.run.tracking import WRITTEN

HOME = STORE / "retrain"
TREE = HOME / "tree"
SHARDS = HOME / "store"
FAULT = HOME / "fault.txt"
FULL_BYTES = 16 << 20  # what is left of a disk on which no stage can work
SEAL = ".sha256"
OWN_CONFIG = Path(".dvc/config.local")
STARTED = ("weights.yaml", "weights/champion.dvc", "weights/.gitignore")  # what trainings start from, where they do
COMMITTED = (PARAMS.name, *WRITTEN, "data/raw/.gitignore", *STARTED)


def remove_leftovers() -> bool:
    """End what works in the worktree that a killed run left, and remove it; what was finished is in DVC's cache."""
    found = TREE.exists()
    place = TREE.resolve()
    for process in psutil.process_iter() if found else ():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(place):
                end_tree(process.pid)
    shutil.rmtree(TREE, ignore_errors=True)
    git("worktree", "prune")
    return found


@contextlib.contextmanager
def worktree(base: str, cache: Path) -> Iterator[Path]:
    """A checkout of `base` with DVC set up in it, removed at the end whatever happens."""
    HOME.mkdir(parents=True, exist_ok=True)
    link_shards(STORE, SHARDS)
    git("worktree", "add", "--force", "--detach", str(TREE), base)
    try:
        for name, target in ((STORE, SHARDS), (STATE, STATE)):
            target.mkdir(parents=True, exist_ok=True)
            (TREE / name).symlink_to(target.resolve(), target_is_directory=True)
        if OWN_CONFIG.is_file():  # remotes and their credentials
            shutil.copyfile(OWN_CONFIG, TREE / OWN_CONFIG)
        run_dvc("config", "--local", "cache.dir", str(cache.resolve()), folder=TREE)
        run_dvc("config", "--local", "cache.type", "reflink,hardlink,copy", folder=TREE)
        yield TREE
    finally:
        remove_leftovers()


def link_shards(source: Path, target: Path) -> int:
    """Hard-link each sealed shard of one work store into another that lacks it; returns how many.

    Checkpoints stay where they are: they are folders, of which a run goes on writing.
    """
    linked = 0
    for seal in sorted(source.glob(f"*/*{SEAL}")):
        shard = seal.with_name(seal.name.removesuffix(SEAL))
        place = target / seal.parent.name
        if not shard.is_file() or (place / seal.name).exists():
            continue
        for file in (shard, seal):
            link(file, place / file.name)
        linked += 1
    return linked


def carry(commit: str, root: str, origin: str) -> None:
    """Take the release of another commit into the worktree: its pointer, and its place in params.yaml."""
    git("checkout", commit, "--", f"{root}.dvc", folder=TREE)
    if root != origin:
        set_root(TREE / PARAMS, origin, root)


def bring_data(root: str) -> None:
    """Check the release out, whether it was added or a stage has made it, and with it what else was added: weights and
    external sets.
    """
    own = f"{root}.dvc"
    run_dvc("checkout", own if (TREE / own).is_file() else root, folder=TREE)
    for pointer in git("ls-files", "*.dvc", folder=TREE).splitlines():
        if pointer != own:
            try:
                run_dvc("checkout", pointer, folder=TREE)
            except MienError as error:
                print(f"{pointer}: {error}; a stage that needs it will fail")


def change_release(root: str, own_root: str, intake: Intake) -> None:
    """Put new files into the release, as `own_root`, take out what leaves it, and let DVC keep it.

    A release that is a stage's output (the demo's) becomes data of its own: params.yaml names its new place.
    """
    if root != own_root:
        shutil.move(TREE / root, TREE / own_root)
        set_root(TREE / PARAMS, root, own_root)
    release = TREE / own_root
    for name in intake.removed:
        _take_out(release, name)
    for arrival, name in intake.taken.items():
        if name not in intake.rewritten:
            with atomic_path(release / name) as temporary:  # in the place of a link into the cache, not through it
                shutil.copyfile(arrival.path, temporary)
            if file_digest(release / name, "md5") != arrival.md5:
                raise MienError(f"{arrival.name} changed while it was taken; the next run looks at it again")
    for name, data in intake.rewritten.items():
        atomic_write_bytes(release / name, data)
    run_dvc("add", own_root, folder=TREE)


def _take_out(release: Path, name: str) -> None:
    """Remove a file, and the folders that it leaves empty: DVC knows of none, and discovery reads their names."""
    (release / name).unlink()
    for folder in (release / name).parents:
        if folder == release or any(folder.iterdir()):
            return
        folder.rmdir()


def set_root(params: Path, former: str, root: str) -> None:
    """Change `data.root` in a params file and nothing else in it."""
    text = params.read_text(encoding="utf-8")
    changed = text.replace(f"root: {former}", f"root: {root}", 1)
    if yaml.safe_load(changed)["data"]["root"] != root:
        raise MienError(f"{params.name}: data.root cannot be set to {root}; write it as `root: {former}`")
    params.write_text(changed, encoding="utf-8")


def reproduce() -> None:
    """Run the graph in the worktree, as the flow of `mien repro`; `MienError` with its message when a stage fails."""
    FAULT.unlink(missing_ok=True)
    os.environ[TOLD] = str(FAULT.resolve())
    environment = {**os.environ, TITLE: "retrain"}
    code = run_supervised([sys.executable, "-m", "pipeline.run.flows", "0"], TREE, environment)
    del os.environ[TOLD]
    if code > 128:
        raise KeyboardInterrupt
    if code:
        raise MienError(f"{_fault()}. Nothing is promoted, the inbox is as it was; the next run goes on from there")


def _fault() -> str:
    """What ended the graph: the first stage's own message, where it could leave one."""
    if shutil.disk_usage(HOME).free < FULL_BYTES:
        return "a stage failed: the disk is full"
    if not FAULT.is_file():
        return "a stage failed; its own message stands above"
    return f"a stage failed: {FAULT.read_text(encoding='utf-8').strip()}"


def commit_all(root: str, message: str) -> str | None:
    """Commit lock, params and the release's pointer; None when nothing of them has changed."""
    names = [name for name in (*COMMITTED, f"{root}.dvc") if (TREE / name).exists()]
    git("add", "--", *names, folder=TREE)
    if not git("diff", "--cached", "--name-only", folder=TREE):
        return None
    return commit(TREE, message)
