"""What was asked for: the command, the graph and the params of the lock, against dvc.yaml and params.yaml beside it."""

from collections.abc import Iterator
from typing import Any

from pipeline.audit.case import Case
from pipeline.audit.claims import Claim, broken, some, unchecked, verified
from pipeline.audit.locks import Stage, load_yaml
from pipeline.core.definition import definition
from pipeline.run.tracking import flatten
from pipeline.run.why import differences

ABSENT = "none"


def check_definitions(case: Case) -> Iterator[Claim]:
    """Two claims a stage: dvc.yaml defines it so, and params.yaml has the values that it ran with."""
    trees: dict[str, Any] = {}
    for stage in case.stages:
        yield _defined(case, stage, trees)
        yield from _params(case, stage, trees)


def _tree(case: Case, path: str, trees: dict[str, Any]) -> Any:
    if path not in trees:
        data = case.state.read(path)
        trees[path] = None if data is None else load_yaml(data, f"{path} of {case.state.short}")
    return trees[path]


def _defined(case: Case, stage: Stage, trees: dict[str, Any]) -> Claim:
    """Whether cmd, deps and outs are those of dvc.yaml."""
    file = stage.lock.replace(".lock", ".yaml")
    tree = _tree(case, file, trees)
    if tree is None:
        return broken(stage.name, "graph", f"{case.state.short} has no {file}")
    name, _, key = stage.name.partition("@")
    params = (_tree(case, "params.yaml", trees) or {}) if file == "dvc.yaml" else {}
    try:
        defined = definition(tree["stages"][name], key, params)
    except (KeyError, IndexError, StopIteration, TypeError):
        return broken(stage.name, "graph", f"{file} of {case.state.short} defines no such stage")
    wrong = [] if defined["cmd"] == stage.cmd else [f"cmd is {stage.cmd!r}, {file} says {defined['cmd']!r}"]
    for kind, items in (("deps", stage.deps), ("outs", stage.outs)):
        asked, told = {path.as_posix() for path in defined[kind]}, {item.path for item in items}
        wrong += [f"{path} is in {file} and not in the lock" for path in sorted(asked - told)]
        wrong += [f"{path} is in the lock and not in {file}" for path in sorted(told - asked)]
    if wrong:
        return broken(stage.name, "graph", some(wrong))
    return verified(stage.name, "graph", f"command, inputs and outputs as {file} defines them")


def _value(tree: Any, name: str) -> Any:
    """A value by its dotted name; a key may itself hold dots."""
    if isinstance(tree, dict) and name in tree:
        return tree[name]
    head, _, rest = name.partition(".")
    while rest and isinstance(tree, dict):
        if head in tree:
            return _value(tree[head], rest)
        more, _, rest = rest.partition(".")
        head = f"{head}.{more}"
    return ABSENT


def _params(case: Case, stage: Stage, trees: dict[str, Any]) -> Iterator[Claim]:
    for file, values in stage.params.items():
        tree = _tree(case, file, trees)
        if tree is None:
            yield unchecked(stage.name, "params", f"{case.state.short} has no {file}")
            continue
        wrong = [text for name, value in values.items() for text in differences(name, value, _value(tree, name))]
        if wrong:
            yield broken(stage.name, "params", f"{file} of {case.state.short} has other values: {some(wrong)}")
        else:
            count = len(flatten(dict(values)))
            yield verified(stage.name, "params", f"{count} values as {file} of {case.state.short} has them")
