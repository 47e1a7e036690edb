"""A stage as dvc.yaml defines it, as a whole: for whoever asks about stages. No stage asks: it is no input of any.

It reads with the parts of `deps.py`, which is an input of every training.
"""

from pathlib import Path
from typing import Any

from pipeline.core.deps import DVC_FILES, _body, _definitions, _filled
from pipeline.core.errors import MienError
from pipeline.core.params import read_tree


def definition(entry: dict[str, Any], key: str, tree: dict[str, Any]) -> dict[str, Any]:
    """A stage with its `${...}` filled in: cmd (text), deps and outs (paths; metrics
    are outs), params (names).

    `entry` is its body in dvc.yaml, `key` the part of its name behind `@`, `tree` the params. Raises `KeyError`,
    `IndexError`, `StopIteration` or `TypeError` where the params have no such member.
    """
    body, context = _body(entry, key, tree)
    found: dict[str, Any] = {"cmd": _filled(body["cmd"], context)}
    written = body.get("outs", []) + [next(iter(entry)) for entry in body.get("metrics", [])]
    for kind, paths in (("deps", body.get("deps", [])), ("outs", written)):
        found[kind] = list(dict.fromkeys(Path(_filled(path, context)) for path in paths))
    found["params"] = [_filled(p, context) if isinstance(p, str) else next(iter(p)) for p in body.get("params", [])]
    return found


def stage_outs(stage: str) -> list[Path]:
    """Paths that a stage (`submit@va`) writes, each once; `MienError` when no dvc.yaml knows it."""
    name, _, key = stage.partition("@")
    for path in DVC_FILES:
        if entry := _definitions(path.absolute()).get(name):
            try:
                return definition(entry, key, read_tree() if path == DVC_FILES[0] else {})["outs"]
            except (KeyError, IndexError, StopIteration, TypeError):
                raise MienError(f"params.yaml: graph has no {key} for {name}", exit_code=2) from None
    raise MienError(f"dvc.yaml: there is no stage {stage}", exit_code=2)
