"""A project in miniature to retrain: the demo's VA recordings, two of which are held back to arrive later."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.core.retrain import Bounds
from tests.clones import commit, environment, make_clone, once, repro, rewrite, run_in
from tests.test_partial_releases import cut
from tests.tiny import TINY_FACE, TINY_TRAIN

LABELS = Path("annotations/VA_Estimation_Challenge/Train_Set")
VALIDATION = LABELS.with_name("Validation_Set")
TINY = {
    "systems": {"vit": {"backbone": TINY_FACE, "train": TINY_TRAIN}},
    "detect_align": {"max_failed_fraction": 0.2},
    "ensemble": {"bootstrap_draws": 20, "members": {"va": ["vit"]}},
}
EAGER = {"settle_seconds": 0.0, "draws": 50, "margin": 1.0}
WIDE = {
    "cache_features": {"backbones": {"mae": {"datasets": ["aff-wild2", "extra", "lsd"]}}},
    "ensemble": {"members": {"va": ["vit"], "lsd": ["multitask"]}},
    "retrain": EAGER | {"margin": -2.0, "drift": dict.fromkeys(Bounds.model_fields)},  # 24 frames drift by chance
}


def mien(clone: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in the clone, however it ends."""
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, cwd=clone, env=environment() | variables, capture_output=True, text=True)


def git(clone: Path, *arguments: str) -> str:
    return run_in(clone, "git", *arguments).strip()


def keep(path: Path, trainings: list[str], features: list[str]) -> None:
    """Some trainings and cached features of params alone: a story is as long as its stages are many."""
    tree = yaml.safe_load(path.read_text())
    for part, names in (("trainings", trainings), ("features", features)):
        tree["graph"][part] = {name: tree["graph"][part][name] for name in names}
    path.write_text(yaml.safe_dump(tree, sort_keys=False))


def story_of(factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A story of one's own, copied from the one that is made for all tests: a project and a folder of what arrives."""
    made = once(factory, "a-story", make_story)
    target = factory.mktemp("story") / "copy"
    shutil.copytree(made, target, symlinks=True)
    return target / "project", target / "later"


def make_story(target: Path) -> None:
    """A project that has run once on three training recordings, all committed; and a folder with two more."""
    clone = make_clone(target / "project")
    rewrite(clone / "demo/params.yaml", {"videos": {"train": 5}})
    run_in(clone, "dvc", "repro", "demo/dvc.yaml:synthesize")
    release, later = clone / "data/raw/mine", target / "later"
    cut(clone / "data/raw/demo", release, {"va"}, pool=False)
    later.mkdir()
    for label in [path for path in sorted((release / LABELS).iterdir()) if not path.stem.endswith(("left", "right"))][
        :2
    ]:
        (video,) = (release / "videos").rglob(f"{label.stem}.*")
        label.rename(later / label.name)
        video.rename(later / video.name)
    run_in(clone, "dvc", "add", "data/raw/mine")
    run_in(clone, "mien", "init", "data/raw/mine", "--tracks", "va", "--size", "demo")
    rewrite(clone / "params.yaml", TINY | {"retrain": EAGER})
    keep(clone / "params.yaml", ["vit-va"], [])
    repro(clone)
    commit(clone)


def make_wide_story(target: Path) -> tuple[Path, Path]:
    """A project of VA, LSD and the pool that has run once, with an encoder and its features; and a folder with a
    recording of validation that is yet to come.
    """
    clone = make_clone(target / "project")
    rewrite(clone / "demo/params.yaml", {"videos": {"train": 3, "validation": 4}})
    run_in(clone, "dvc", "repro", "demo/dvc.yaml:synthesize")
    release, later = clone / "data/raw/mine", target / "later"
    cut(clone / "data/raw/demo", release, {"va", "lsd"}, pool=True)
    labels = sorted((release / VALIDATION).glob("*.txt"))
    late = next(path for path in labels if not path.stem.endswith(("left", "right")))
    (video,) = (release / "videos").rglob(f"{late.stem}.*")
    (later / VALIDATION).mkdir(parents=True)
    late.rename(later / VALIDATION / late.name)
    video.rename(later / video.name)
    run_in(clone, "dvc", "add", "data/raw/mine")
    run_in(clone, "mien", "init", "data/raw/mine", "--tracks", "va,lsd", "--size", "demo")
    rewrite(clone / "params.yaml", WIDE)
    keep(clone / "params.yaml", ["vit-va", "multitask-lsd"], ["mae"])
    repro(clone)
    commit(clone)
    return clone, later
