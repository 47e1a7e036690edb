"""What a lock says: each stage's deps, outs and params; and the data that no stage makes (`*.dvc`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml

from pipeline.audit.states import State
from pipeline.core.errors import MienError
from pipeline.core.safe_yaml import parse_yaml
from pipeline.run.lock import load_dvc
from pipeline.run.tracking import LOCKS

DIRECTORY = ".dir"  # how DVC's digest of a folder ends
MISFITS = (AttributeError, KeyError, TypeError, ValueError, OverflowError)  # of YAML that is not what DVC writes


@dataclass(frozen=True)
class Item:
    """One line of deps or outs: a path from the project's root, DVC's digest, size in bytes, files of a folder."""

    path: str
    md5: str
    size: int = 0
    nfiles: int | None = None

    @property
    def is_folder(self) -> bool:
        """Whether the digest is a folder's."""
        return self.md5.endswith(DIRECTORY)


@dataclass(frozen=True)
class Stage:
    """A stage of a lock; `params` by file and by name in it."""

    name: str
    cmd: str
    deps: tuple[Item, ...]
    outs: tuple[Item, ...]
    params: Mapping[str, Mapping[str, Any]]
    lock: str = LOCKS[0]

    def out(self, path: str) -> Item | None:
        """The output at a path."""
        return next((item for item in self.outs if item.path == path), None)


@dataclass(frozen=True)
class Lock:
    """All stages of the project's locks by name, and the items of its `*.dvc` files by path."""

    stages: dict[str, Stage] = field(default_factory=dict)
    data: dict[str, Item] = field(default_factory=dict)

    def items(self) -> dict[str, Item]:
        """All outputs and data by path."""
        return {item.path: item for stage in self.stages.values() for item in stage.outs} | self.data


def load_yaml(data: bytes, where: str) -> Any:
    """A YAML file of the project; `MienError` names the one that is none."""
    try:
        return parse_yaml(data, load_dvc) or {}
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())[:160]
        raise MienError(f"{where}: not readable as YAML: {said}; restore it with git") from None


def _normal(path: str) -> str:
    """A path from the root: `data/raw/x` of `../data/raw/x`."""
    return "/".join(part for part in PurePosixPath(path).parts if part not in ("..", "."))


def _item(entry: Mapping[str, Any], folder: str = "") -> Item:
    path = f"{folder}{entry['path']}" if folder else _normal(str(entry["path"]))
    return Item(path, str(entry.get("md5") or ""), int(entry.get("size") or 0), entry.get("nfiles"))


def _stage(name: str, entry: Mapping[str, Any], lock: str) -> Stage:
    deps, outs = (tuple(_item(line) for line in entry.get(kind) or ()) for kind in ("deps", "outs"))
    return Stage(name, str(entry.get("cmd", "")), deps, outs, entry.get("params") or {}, lock)


def parse_lock(texts: Mapping[str, bytes], where: str) -> dict[str, Stage]:
    """The stages of lock files, by the file's path; `MienError` where one is not DVC's."""
    stages: dict[str, Stage] = {}
    for lock, text in texts.items():
        try:
            for name, entry in (load_yaml(text, f"{lock} of {where}").get("stages") or {}).items():
                stages[name] = _stage(name, entry, lock)
        except MISFITS:
            raise MienError(f"{lock} of {where}: not a lock of DVC; restore it with git") from None
    return stages


def parse_pointer(text: bytes, path: str, where: str) -> dict[str, Item]:
    """The data that a `*.dvc` file names, by path; `MienError` where it is not DVC's."""
    folder = path.rpartition("/")[0]
    try:
        entries = load_yaml(text, f"{path} of {where}").get("outs") or ()
        items = [_item(entry, f"{folder}/" if folder else "") for entry in entries]
    except MISFITS:
        raise MienError(f"{path} of {where}: not a file of DVC; restore it with git") from None
    return {item.path: item for item in items}


def read_lock(state: State) -> Lock:
    """What the locks and the `*.dvc` files of a state say."""
    texts = {lock: text for lock in LOCKS if (text := state.read(lock)) is not None}
    data: dict[str, Item] = {}
    for path in state.files(".dvc"):
        data |= parse_pointer(state.read(path) or b"", path, state.name)
    return Lock(parse_lock(texts, state.name), data)
