"""The joints of the chain: what a stage read is what another made, or what git or DVC holds as data."""

import hashlib
from collections.abc import Iterator

from pipeline.audit.case import Case
from pipeline.audit.claims import Claim, broken, some, unchecked, verified
from pipeline.audit.lineage import is_below, origin
from pipeline.audit.locks import Item, Stage
from pipeline.audit.objects import inner
from pipeline.core.paths import CODE, RUNS
from pipeline.run.outputs import folder_md5


def check_links(case: Case) -> Iterator[Claim]:
    """A claim for each input of each stage."""
    for stage in case.stages:
        for dep in dict.fromkeys(stage.deps):  # `needs` may name a path twice
            yield _link(case, stage, dep)


def _link(case: Case, stage: Stage, dep: Item) -> Claim:
    """Whether a dep's digest is the one that its origin has in the same lock."""
    source = origin(case.lock, dep.path)
    items = [item for _, item in source.stages] or ([source.data] if source.data else [])
    names = ", ".join(dict.fromkeys(name for name, _ in source.stages)) or "its .dvc file"
    if not items:
        return _tracked(case, stage, dep)
    whole = next((item for item in items if is_below(dep.path, item.path)), None)
    md5, why = _part(case, whole, dep) if whole else _together(case, items, dep)
    if md5 is None:
        return unchecked(stage.name, "link", f"{dep.path}: {why}")
    if md5 != dep.md5:
        text = f"{dep.path}: read as {dep.md5[:12]}, but {names} has it as {md5[:12] or 'nothing'}"
        return broken(stage.name, "link", text)
    return verified(stage.name, "link", f"{dep.path}: read as {names} made it")


def _part(case: Case, whole: Item, dep: Item) -> tuple[str | None, str]:
    """The digest of a path that is an output or lies in one; with None, why it cannot be told."""
    if whole.path == dep.path:
        return whole.md5, ""
    listing = case.objects.listing(whole)
    if listing is None:
        return None, f"what {whole.path} holds is not known here (its list is not in the cache)"
    name = dep.path.removeprefix(f"{whole.path}/")
    members = inner(listing, name)
    return listing.get(name) or (folder_md5(members) if members else ""), ""


def _together(case: Case, items: list[Item], dep: Item) -> tuple[str | None, str]:
    """The digest of a folder that several outputs make up."""
    members: dict[str, str] = {}
    for item in items:
        found = case.objects.members(item)
        if found is None:
            return None, f"what {item.path} holds is not known here (its list is not in the cache)"
        members |= found
    return folder_md5({path.removeprefix(f"{dep.path}/"): md5 for path, md5 in members.items()}), ""


def _tracked(case: Case, stage: Stage, dep: Item) -> Claim:
    """A dep that no stage makes: a file or folder of the commit, else data that nobody versions."""
    data = case.state.read(dep.path)
    members = {} if data is not None else case.state.members(dep.path)
    if data is None and not members:
        why = "no stage makes it and neither git nor a .dvc file holds it; `dvc add` would version it"
        return unchecked(stage.name, "link", f"{dep.path}: {why}")
    md5 = hashlib.md5(data).hexdigest() if data is not None else folder_md5(members)
    if md5 == dep.md5:
        return verified(stage.name, "link", f"{dep.path}: as {case.state.short} holds it")
    if stage.name == "code":
        text = f"{dep.path}: not byte for byte that of {case.state.short}; what runs is compared by the code files"
        return unchecked(stage.name, "link", text)
    return broken(stage.name, "link", f"{dep.path}: read as {dep.md5[:12]}, {case.state.short} has {md5[:12]}")


def check_made(case: Case) -> Iterator[Claim]:
    """Whether each output is what its run says that it wrote: `dvc commit` records whatever lies there."""
    for stage in case.stages:
        if stage.name == CODE.name:  # its outputs are made anew: check/code.py
            continue
        outs = {item.path: item.md5 for item in stage.outs if not is_below(item.path, RUNS.as_posix())}
        written = case.runs.get(stage.name, {}).get("outputs")
        if not written:
            why = (
                "its run.json is not here"
                if stage.name not in case.runs
                else "its run.json does not tell what it wrote"
            )
            has_run = any(is_below(item.path, RUNS.as_posix()) for item in stage.outs)
            why = why if has_run else "a stage without a record of its run"
            yield unchecked(stage.name, "made", f"{some(outs)}: {why}")
            continue
        wrong = [path for path, md5 in outs.items() if written.get(path) != md5]
        if wrong:
            text = f"{some(wrong)}: in the lock are other bytes than the run wrote; nobody produced them"
            yield broken(stage.name, "made", text)
        else:
            yield verified(stage.name, "made", f"{some(outs)}: as the run says that it wrote them")
