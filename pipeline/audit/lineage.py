"""From outputs to inputs: which stages of a lock a file came through, and where each of their inputs came from."""

from dataclasses import dataclass

from pipeline.audit.locks import Item, Lock, Stage


@dataclass(frozen=True)
class Origin:
    """Where an input came from: outputs of stages (itself, the one that holds it, or those below it), or data."""

    stages: tuple[tuple[str, Item], ...] = ()
    data: Item | None = None


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it."""
    return path == folder or path.startswith(f"{folder}/")


def origin(lock: Lock, path: str) -> Origin:
    """The stages whose outputs a path is, or lies in, or holds; else the data of a `*.dvc` file; else nothing."""
    outs = [(name, item) for name, stage in lock.stages.items() for item in stage.outs]
    found = [pair for pair in outs if is_below(path, pair[1].path)] or [p for p in outs if is_below(p[1].path, path)]
    if found:
        return Origin(tuple(found))
    data = [item for item in lock.data.values() if is_below(path, item.path) or is_below(item.path, path)]
    return Origin(data=data[0] if data else None)


def upstream(lock: Lock, name: str) -> dict[str, list[str]]:
    """A stage and all that it stands on, each with the stages that it reads from; the asked one first."""
    found: dict[str, list[str]] = {}
    queue = [name]
    while queue:
        stage = queue.pop(0)
        if stage not in found:
            sources = (source for dep in lock.stages[stage].deps for source, _ in origin(lock, dep.path).stages)
            found[stage] = list(dict.fromkeys(sources))
            queue += found[stage]
    return found


def data_of(lock: Lock, stages: dict[str, list[str]]) -> dict[str, Item]:
    """Data that stages read and no stage makes, by path: of `*.dvc` files."""
    deps = [dep for name in stages for dep in lock.stages[name].deps]
    found = [data for dep in deps if (data := origin(lock, dep.path).data)]
    return {item.path: item for item in found}


def fingerprint(lock: Lock, stages: dict[str, list[str]]) -> tuple:
    """What makes two chains the same: every dep, out and param of their stages, run records apart."""

    def told(stage: Stage) -> tuple:
        outs = tuple((o.path, o.md5) for o in stage.outs if not o.path.startswith("artifacts/runs/"))
        return stage.name, stage.cmd, tuple((d.path, d.md5) for d in stage.deps), outs, repr(stage.params)

    return tuple(told(lock.stages[name]) for name in sorted(stages))
