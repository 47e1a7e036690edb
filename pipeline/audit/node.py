"""What there is to say of a stage of the chain, for every form of the answer: text, JSON, page, attestation."""

from typing import Any

from pipeline.audit.case import Case
from pipeline.audit.check.code import code_of
from pipeline.audit.lineage import origin
from pipeline.audit.locks import Item, Stage
from pipeline.audit.outside import named_weights
from pipeline.run.tracking import flatten


def stage_facts(case: Case, stage: Stage) -> dict[str, Any]:
    """A stage's command, params, data, code, libraries, weights and run, as plain data."""
    files, libraries = code_of(case, stage)
    weights = {
        name: entry.model_dump(include={"source", "sha256", "licence", "trained_on", "label_types"}) if entry else None
        for name, entry in named_weights(case, stage).items()
    }
    return {
        "stage": stage.name,
        "command": stage.cmd,
        "params": {file: flatten(dict(values)) for file, values in stage.params.items()},
        "inputs": [_item(case, dep) | {"from": _sources(case, dep)} for dep in dict.fromkeys(stage.deps)],
        "outputs": [_item(case, out) for out in stage.outs],
        "code": files,
        "libraries": libraries,
        "weights": weights,
        "run": case.runs.get(stage.name),
    }


def _item(case: Case, item: Item) -> dict[str, Any]:
    return {"path": item.path, "md5": item.md5, "bytes": item.size, "files": item.nfiles or 1}


def _sources(case: Case, dep: Item) -> list[str]:
    found = origin(case.lock, dep.path)
    if found.stages:
        return list(dict.fromkeys(name for name, _ in found.stages))
    return [f"{found.data.path}.dvc"] if found.data else ["git"]
