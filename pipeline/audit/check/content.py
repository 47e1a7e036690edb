"""The bytes themselves: everything that the chain made or read, in DVC's cache and on disk, hashed anew."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.audit.case import Case
from pipeline.audit.claims import Claim, broken, some, unchecked, verified
from pipeline.audit.locks import DIRECTORY, Item
from pipeline.run.outputs import IGNORED


def check_content(case: Case) -> Iterator[Claim]:
    """A claim for each output and each data set of the chain."""
    items = [(stage.name, item) for stage in case.stages for item in stage.outs]
    for _, item in [*items, *((path, item) for path, item in case.data.items())]:
        yield _item_claim(case, item)


def _item_claim(case: Case, item: Item) -> Claim:
    damage = _damaged_listing(case, item)
    members = case.objects.members(item)
    if members is None:
        lying = f"; what lies at {item.path} is something else" if Path(item.path).exists() else ""
        if lying and _is_present(case, item):
            return broken(item.path, "bytes", damage or _differing(case, item))
        return (broken if damage else unchecked)(
            item.path, "bytes", damage or f"neither in the cache nor on disk{lying}; `dvc pull` may bring it"
        )
    wrong, absent, size = [damage] if damage else [], [], 0
    for path, md5 in members.items():
        faults, found = _file_faults(case, item, path, md5)
        wrong += faults
        size += found.stat().st_size if found else 0
        absent += [] if found or faults else [path]
    wrong += _strangers(case, item, members)
    if wrong:
        return broken(item.path, "bytes", some(wrong))
    if absent:
        return unchecked(item.path, "bytes", f"{len(absent)} of {len(members)} files are not here: {some(absent)}")
    if (item.size and size != item.size) or (item.nfiles is not None and item.nfiles != len(members)):
        told = f"{item.size} bytes" + (f" in {item.nfiles} files" if item.nfiles is not None else "")
        return broken(item.path, "bytes", f"the lock says {told}, there are {size} in {len(members)}")
    return verified(item.path, "bytes", f"{len(members)} files, {size} bytes, hashed anew: as the lock says")


def _damaged_listing(case: Case, item: Item) -> str:
    """What is wrong with the cache's list of a folder's files."""
    path = case.objects.cached(item.md5)
    if not item.is_folder or not path.is_file():
        return ""
    good = hashlib.md5(path.read_bytes()).hexdigest() + DIRECTORY == item.md5
    return "" if good else f"{item.path}: the cache's list of its files was changed ({path.name})"


def _is_present(case: Case, item: Item) -> bool:
    """Whether the workspace claims to hold this very item: its own lock tells the same digest."""
    mine = case.present.items().get(item.path)
    return mine is not None and mine.md5 == item.md5


def _differing(case: Case, item: Item) -> str:
    return f"{item.path}: what lies there is not what the lock tells of, and the cache does not know which file differs"


def _file_faults(case: Case, item: Item, path: str, md5: str) -> tuple[list[str], Path | None]:
    """What is wrong with the copies of a file, and a good copy."""
    faults, good = [], None
    cached, lying = case.objects.cached(md5), Path(path)
    if cached.is_file():
        good = cached if case.objects.digest(cached) == md5 else None
        faults += [] if good else [f"{path}: other bytes in the cache ({md5[:8]})"]
    if lying.is_file() and _is_present(case, item):
        if case.objects.digest(lying) == md5:
            good = good or lying
        else:
            faults.append(f"{path}: other bytes on disk than the run read or made")
    elif not good and not faults and lying.is_file() and case.objects.digest(lying) == md5:
        good = lying
    return faults, good


def _strangers(case: Case, item: Item, members: dict[str, str]) -> list[str]:
    """Files in the workspace's folder of which the lock does not tell."""
    folder = Path(item.path)
    if not item.is_folder or not folder.is_dir() or not _is_present(case, item):
        return []
    lying = (f"{item.path}/{name}" for name in _names(folder))
    return [f"{path}: lies there and is not in the lock" for path in lying if path not in members]


def _names(folder: Path) -> list[str]:
    return [
        p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file() and not IGNORED & {*p.parts}
    ]
