"""The answer as an in-toto statement with SLSA provenance, for whoever reads these rather than Mien.

Statement v1: https://in-toto.io/Statement/v1; predicate: https://slsa.dev/spec/v1.0/provenance. DVC's md5 stands beside
sha256; a folder's sha256 is that of its `sha256sum` list, `<digest>  <path>` a line, sorted by path. It is signed, held
against a repository and put into crates and bundles in `exchange/`.
"""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.audit.audit import Found
from pipeline.audit.case import Case
from pipeline.audit.claims import Claim, counted
from pipeline.audit.lineage import is_below, origin
from pipeline.audit.locks import DIRECTORY, Item
from pipeline.audit.outside import named_weights
from pipeline.core.files import file_digest
from pipeline.core.paths import CODE

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD = "https://dvc.org/doc/command-reference/repro"


def statement(found: Found, claims: list[Claim]) -> dict[str, Any]:
    """The statement on the bytes that were found, as plain data."""
    case, data = found.case, found.form.data
    digest = {"sha256": hashlib.sha256(data).hexdigest(), "md5": hashlib.md5(data).hexdigest()}
    return {
        "_type": STATEMENT,
        "subject": [{"name": case.hit.item.path, "digest": digest}],
        "predicateType": PREDICATE,
        "predicate": {"buildDefinition": _definition(case), "runDetails": _details(case, claims)},
    }


def _definition(case: Case) -> dict[str, Any]:
    params = {stage.name: {f: dict(values) for f, values in stage.params.items()} for stage in case.stages}
    return {
        "buildType": BUILD,
        "externalParameters": {"stage": case.hit.stage, "params": params},
        "internalParameters": {"commands": {stage.name: stage.cmd for stage in case.stages}, "graph": case.hit.stages},
        "resolvedDependencies": [*_commit(case), *_data(case), *_code(case), *_weights(case)],
    }


def _commit(case: Case) -> list[dict[str, Any]]:
    return [{"name": "the project", "digest": {"gitCommit": case.hit.commits[0]}}] if case.hit.commits else []


def _data(case: Case) -> list[dict[str, Any]]:
    """Raw data, and the tracked files that stages read: inputs that no stage made, or that one made from nothing."""
    found = dict(case.data)
    for stage in case.stages:
        for dep in stage.deps:
            made = {name for name, _ in origin(case.lock, dep.path).stages}
            if made <= {"synthesize"} and dep.path not in found and not _is_held(case, dep):
                found[dep.path] = dep
    return [_resource(case, item) for _, item in sorted(found.items()) if not Path(item.path).is_relative_to(CODE)]


def _is_held(case: Case, dep: Item) -> bool:
    """Whether a dep lies in data that is named as a whole."""
    return any(is_below(dep.path, path) for path in case.data)


def _code(case: Case) -> list[dict[str, Any]]:
    files = {d.path: d for stage in case.stages for d in stage.deps if Path(d.path).is_relative_to(CODE)}
    return [_resource(case, item) for _, item in sorted(files.items())]


def _weights(case: Case) -> list[dict[str, Any]]:
    named = {name: entry for stage in case.stages for name, entry in named_weights(case, stage).items() if entry}
    return [
        {
            "name": name,
            "uri": entry.source,
            "digest": {"sha256": entry.sha256},
            "annotations": {"licence": entry.licence, "trained_on": entry.trained_on},
        }
        for name, entry in sorted(named.items())
    ]


def _resource(case: Case, item: Item) -> dict[str, Any]:
    """A file or a folder by its digests; sha256 where all its bytes are here."""
    digest = {"md5": item.md5.removesuffix(DIRECTORY)}
    members = case.objects.members(item) or {}
    paths = {path: case.objects.find(path, md5) for path, md5 in members.items()}
    if members and all(paths.values()):
        sums = {path: file_digest(place) for path, place in sorted(paths.items()) if place}
        lines = "".join(f"{value}  {path.removeprefix(f'{item.path}/')}\n" for path, value in sums.items())
        digest["sha256"] = hashlib.sha256(lines.encode()).hexdigest() if item.is_folder else sums[item.path]
    facts = {"bytes": item.size, "files": item.nfiles or 1, "folder": item.is_folder}
    return {"name": item.path, "digest": digest, "annotations": facts}


def _details(case: Case, claims: list[Claim]) -> dict[str, Any]:
    """Who built it, the runs that it came from, and what the audit said."""
    run = case.runs.get(case.hit.stage, {})
    runs = {name: record["run_id"] for name, record in case.runs.items()}
    wrong = [f"{claim.about}: {claim.kind}: {claim.text}" for claim in claims if claim.verdict == "broken"]
    return {
        "builder": {"id": BUILD, "version": {"dvc": version("dvc"), "mlflow": version("mlflow")}},
        "metadata": {"invocationId": run.get("run_id") or ""},
        "byproducts": [
            {"name": "MLflow runs", "annotations": runs},
            {"name": "mien audit", "annotations": {**counted(claims), "broken_claims": wrong}},
        ],
    }
