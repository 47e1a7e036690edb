"""DVC's cache: the bytes of outputs by their digests, and what lies in a folder."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.audit.locks import DIRECTORY, Item
from pipeline.core.files import file_digest
from pipeline.run.outputs import folder_md5, folder_members


def cache_folder() -> Path:
    """Where DVC's cache of this workspace lies, whatever its settings say."""
    from pipeline.run.repository import repository  # DVC takes a second to load

    with repository() as repo:
        return Path(repo.cache.local_cache_dir)


def inner(members: Mapping[str, str], folder: str) -> dict[str, str]:
    """The members below one folder of a folder, by their paths within that."""
    return {name.removeprefix(f"{folder}/"): md5 for name, md5 in members.items() if name.startswith(f"{folder}/")}


class Objects:
    """Bytes by digest: out of the cache, or out of the workspace where a file there has that digest."""

    def __init__(self, cache: Path) -> None:
        self.folder = cache
        self._listings: dict[str, dict[str, str] | None] = {}
        self._digests: dict[tuple[int, int], str] = {}

    def cached(self, md5: str) -> Path:
        """Where the cache holds, or would hold, the object of a digest."""
        return self.folder / "files/md5" / md5[:2] / md5[2:]

    def digest(self, path: Path) -> str:
        """md5 of a file, read once however many links lead to it."""
        facts = path.stat()
        key = facts.st_dev, facts.st_ino
        if key not in self._digests:
            self._digests[key] = file_digest(path, "md5")
        return self._digests[key]

    def listing(self, item: Item) -> dict[str, str] | None:
        """md5 of each file of a folder by its path in it; None where neither cache nor workspace can tell."""
        if item.md5 not in self._listings:
            self._listings[item.md5] = self._cached_listing(item.md5) or self._lying(item)
        return self._listings[item.md5]

    def _cached_listing(self, md5: str) -> dict[str, str] | None:
        path = self.cached(md5)
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.md5(data).hexdigest() != md5.removesuffix(DIRECTORY):
            return None
        return {entry["relpath"]: entry["md5"] for entry in json.loads(data)}

    def _lying(self, item: Item) -> dict[str, str] | None:
        """The members of the workspace's folder where they are those of the digest."""
        members = folder_members(Path(item.path)) if Path(item.path).is_dir() else {}
        return members if folder_md5(members) == item.md5 else None

    def members(self, item: Item) -> dict[str, str] | None:
        """md5 of each file of an item by its path from the project's root; None where a folder is not known."""
        if not item.is_folder:
            return {item.path: item.md5}
        listing = self.listing(item)
        return None if listing is None else {f"{item.path}/{name}": md5 for name, md5 in listing.items()}

    def find(self, path: str, md5: str) -> Path | None:
        """A file on this disk with these bytes: the cache's, or the one at `path`; checked, not believed."""
        for candidate in (self.cached(md5), Path(path)):
            if candidate.is_file() and self.digest(candidate) == md5:
                return candidate
        return None

    def within(self, item: Item, name: str) -> Path | None:
        """A file of a folder by its path in it, or an output that is a file itself (`name` empty)."""
        members = self.members(item) or {}
        path = f"{item.path}/{name}" if name else item.path
        return self.find(path, members[path]) if path in members else None
