"""A project in memory: a lock made by hand, its objects in a cache, and tracked files, any of which may be wrong."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.audit.case import Case
from pipeline.audit.history import Hit
from pipeline.audit.locks import Item, Lock, Stage
from pipeline.audit.objects import Objects
from pipeline.run.outputs import folder_md5


class Files:
    """Tracked files by path: a `State` of no commit."""

    name = short = "a commit"

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.held = dict(files)

    def read(self, path: str) -> bytes | None:
        return self.held.get(path)

    def members(self, folder: str) -> dict[str, str]:
        inside = {path: data for path, data in self.held.items() if path.startswith(f"{folder}/")}
        return {path.removeprefix(f"{folder}/"): hashlib.md5(data).hexdigest() for path, data in inside.items()}

    def files(self, suffix: str) -> list[str]:
        return [path for path in self.held if path.endswith(suffix)]


class Project:
    """Stages are added one by one; inputs are outputs, parts of outputs, data or tracked files by their paths."""

    def __init__(self, cache: Path, files: Mapping[str, bytes] | None = None) -> None:
        self.objects, self.state, self.lock = Objects(cache), Files(files or {}), Lock()

    def put(self, data: bytes) -> str:
        """Bytes into the cache; their md5."""
        md5 = hashlib.md5(data).hexdigest()
        path = self.objects.cached(md5)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return md5

    def item(self, path: str, content: bytes | Mapping[str, bytes]) -> Item:
        """A file, or a folder of files, in the cache."""
        if isinstance(content, bytes):
            return Item(path, self.put(content), len(content))
        members = {name: self.put(data) for name, data in content.items()}
        listing = [{"md5": members[name], "relpath": name} for name in sorted(members)]
        md5 = folder_md5(members)
        assert self.put(json.dumps(listing, sort_keys=True).encode()) + ".dir" == md5
        self.objects.cached(md5).write_bytes(json.dumps(listing, sort_keys=True).encode())
        return Item(path, md5, sum(map(len, content.values())), len(members))

    def stage(self, name: str, deps: Iterable[Item] = (), outs: Iterable[Item] = (), **params: Any) -> Stage:
        """A stage of the lock."""
        stage = Stage(name, f"make {name}", tuple(deps), tuple(outs), {"params.yaml": params} if params else {})
        self.lock.stages[name] = stage
        return stage

    def case(self, stage: str, present: Lock | None = None) -> Case:
        """The audit of a stage's last output."""
        item = self.lock.stages[stage].outs[-1]
        return Case(Hit(self.state, ("c0ffee",), self.lock, stage, item), self.objects, present or Lock())


def found(claims: Iterable[Any], verdict: str) -> list[str]:
    """Texts of the claims with a verdict."""
    return [claim.text for claim in claims if claim.verdict == verdict]
