"""What DVC holds at a commit: files of an output by digest, from the lock and the cache, without a checkout."""

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.deps import DVC_FILES
from pipeline.core.errors import MienError
from pipeline.retrain.git import git, text_at

CHAMPION = "weights/champion"  # what trainings start from, where they start from a champion


@dataclass(frozen=True)
class Data:
    """The release at a commit: its root, the digest of the whole, and the md5 of each file below it."""

    root: str
    digest: str
    files: dict[str, str]


class Versions:
    """DVC's outputs by commit, read from this project's cache."""

    def __init__(self) -> None:
        self._locks: dict[tuple[str, Path], dict[str, str]] = {}

    @cached_property
    def _cache(self) -> Any:
        from pipeline.run.repository import repository  # DVC takes a second to load

        with repository() as repo:
            return repo.cache.local

    @property
    def cache(self) -> Path:
        """The folder of DVC's cache."""
        return Path(self._cache.path).parent.parent

    def place(self, digest: str) -> Path:
        """Where the cache has, or would have, the bytes of this md5."""
        return Path(self._cache.oid_to_path(digest))

    def digest(self, commit: str, out: str) -> str | None:
        """The md5 of an output, of a stage or added, as a commit has it; None where it does not know it."""
        pointer = yaml.safe_load(text_at(commit, f"{out}.dvc") or "") or {}
        added = next((entry["md5"] for entry in pointer.get("outs", [])), None)
        return added or next((made[out] for file in DVC_FILES if out in (made := self._made(commit, file))), None)

    def _made(self, commit: str, file: Path) -> dict[str, str]:
        """The md5 of each output of the stages of a dvc.yaml, by its path."""
        commit = git("rev-parse", f"{commit}^{{commit}}")
        if (commit, file) not in self._locks:
            lock = yaml.load(text_at(commit, file.with_suffix(".lock").as_posix()) or "", yaml.CSafeLoader) or {}
            outs = [entry for stage in lock.get("stages", {}).values() for entry in stage.get("outs", [])]
            self._locks[commit, file] = {entry["path"]: entry["md5"] for entry in outs}
        return self._locks[commit, file]

    def has(self, commit: str, out: str) -> bool:
        """Whether a commit knows an output and the cache has every file of it."""
        digest = self.digest(commit, out)
        if digest is None or not self.place(digest).is_file():
            return False
        return not digest.endswith(".dir") or all(self.place(md5).is_file() for md5 in self.files(digest).values())

    def outs(self, commit: str) -> list[str]:
        """What the stages of dvc.yaml have made, as a commit has it, and what was added: release, weights."""
        added = [out for out in (self.data(commit).root, CHAMPION) if text_at(commit, f"{out}.dvc")]
        return sorted(self._made(commit, DVC_FILES[0])) + added

    def files(self, digest: str) -> dict[str, str]:
        """The md5 of each file of a folder, by its path in the folder."""
        try:
            entries = json.loads(self.place(digest).read_text())
        except OSError:
            raise MienError(f"DVC's cache lacks {digest}; `dvc pull` brings it, or `dvc repro` makes it") from None
        return {entry["relpath"]: entry["md5"] for entry in entries}

    def data(self, commit: str) -> Data:
        """The release that params.yaml of a commit names."""
        root = yaml.safe_load(text_at(commit, "params.yaml") or "")["data"]["root"]
        digest = self.digest(commit, root)
        if digest is None:
            raise MienError(f"{root} is unknown to DVC at {commit[:10]}; `dvc add {root}`, or `dvc repro`, then commit")
        return Data(root, digest, self.files(digest))

    def fetch(self, commit: str, out: str, target: Path, without: str = "") -> None:
        """Copy a folder as a commit has it to `target`, all but the files with the suffix `without`."""
        if not self.has(commit, out):
            raise MienError(f"DVC's cache lacks {out} as it was at {commit[:10]}; `dvc fetch --all-commits` brings it")
        for name, file in self.files(self.digest(commit, out) or "").items():
            if without and name.endswith(without):
                continue
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.place(file), target / name)

    def link(self, commit: str, out: str, target: Path, below: str) -> None:
        """Symbolic links to the cache in `target`, of the files of a folder whose path in it begins with `below`."""
        if not self.has(commit, out):
            raise MienError(f"DVC's cache lacks {out} as it was at {commit[:10]}; `dvc fetch --all-commits` brings it")
        for name, file in self.files(self.digest(commit, out) or "").items():
            if name.startswith(below):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                (target / name).symlink_to(self.place(file).resolve())
