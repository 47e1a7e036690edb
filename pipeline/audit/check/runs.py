"""MLflow's runs against the lock: present, finished, of the same params, inputs and outputs."""

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.audit.case import WITHOUT_RUN, Case
from pipeline.audit.claims import Claim, broken, some, unchecked, verified
from pipeline.audit.lineage import is_below
from pipeline.audit.locks import Stage, load_yaml, parse_lock
from pipeline.core.files import file_digest
from pipeline.core.paths import ENSEMBLE, RUNS
from pipeline.core.secrets import redacted
from pipeline.run.delivery import OUTPUT_TAG
from pipeline.run.environment import STATE, prepare
from pipeline.run.tracking import LOCKS, flatten

SECTIONS = {"systems": "system", "graph.trainings": "training"}  # names that a training logs a section under


def open_store() -> tuple[Any, str]:
    """MLflow's client, or None and why there is none."""
    prepare()
    uri = os.environ["MLFLOW_TRACKING_URI"]
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and not path.is_file():
        return None, "there is no MLflow store here (.mien/mlflow.db)"
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        os.environ.setdefault(name, "2")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient()
        client.search_experiments(max_results=1)
    except (MlflowException, OSError, ValueError) as error:
        said = redacted(str(error).splitlines()[0])[:120]
        return None, f"MLflow's store does not answer ({said})"
    return client, ""


def check_runs(case: Case) -> Iterator[Claim]:
    """A claim for the run of each stage."""
    client, why = open_store()
    held = {name: _run(client, run) for name, run in case.runs.items()} if client else {}
    known = any(held.values())
    for stage in case.stages:
        record = case.runs.get(stage.name)
        if stage.name in WITHOUT_RUN:
            continue
        if record is None:
            yield unchecked(stage.name, "run", "its run.json is not here, so its run is not known")
        elif client is None:
            yield unchecked(stage.name, "run", f"{record['run_id']}: {why}")
        elif not record["run_id"]:
            yield unchecked(stage.name, "run", "MLflow was away when it ran; the record came later, if at all")
        elif held[stage.name] is None:
            verdict = broken if known else unchecked
            text = "MLflow does not hold it" + (", but holds others of this chain: it was deleted" if known else "")
            yield verdict(stage.name, "run", f"{record['run_id']}: {text}")
        else:
            yield _agreement(case, stage, record, held[stage.name])


def _run(client: Any, record: dict[str, Any]) -> Any:
    """MLflow's run of a record; None where it has none."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(record["run_id"]) if record["run_id"] else None
    except MlflowException:
        return None


def _agreement(case: Case, stage: Stage, record: dict[str, Any], run: Any) -> Claim:
    """Whether a run says what lock and run.json say."""
    run_id = record["run_id"]
    if run.info.lifecycle_stage != "active":
        return broken(stage.name, "run", f"{run_id}: it is deleted in MLflow")
    wrong = [] if run.info.status == "FINISHED" else [f"its status is {run.info.status}"]
    wrong += _tag_faults(stage, record, run.data.tags)
    wrong += _param_faults(stage, run.data.params)
    wrong += _input_faults(case, stage, run)
    wrong += _metric_faults(case, stage, run.data.metrics)
    wrong += _artifact_faults(stage, run)
    if wrong:
        return broken(stage.name, "run", f"{run_id}: MLflow's run does not agree: {some(wrong)}")
    return verified(stage.name, "run", f"{run_id}: params, data sets, outputs and files agree")


def _tag_faults(stage: Stage, record: dict[str, Any], tags: dict[str, str]) -> Iterator[str]:
    wanted = {"dvc.stage": record["stage"], "git.commit": record.get("git_commit") or ""}
    wanted["git.dirty"] = str(bool(record.get("git_dirty"))).lower()
    told = {path.removeprefix(OUTPUT_TAG): md5 for path, md5 in tags.items() if path.startswith(OUTPUT_TAG)}
    for name, value in wanted.items():
        if tags.get(name, "") != value:
            yield f"tag {name} is {tags.get(name)}, run.json says {value}"
    if record.get("outputs"):
        for item in stage.outs:
            if not is_below(item.path, RUNS.as_posix()) and told.get(item.path) != item.md5:
                yield f"it wrote {item.path} as {told.get(item.path)}, the lock has {item.md5}"


def _literal(text: str) -> Any:
    """A value of a param that MLflow holds as text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return list(value) if isinstance(value, tuple) else value


def _agree(locked: Any, logged: Any) -> bool:
    """Whether a logged value is the lock's; the log of a section also has the defaults of what the lock leaves out."""
    if isinstance(locked, dict) and isinstance(logged, dict):
        return all(name in logged and _agree(value, logged[name]) for name, value in locked.items())
    if isinstance(locked, list) and isinstance(logged, list | tuple):
        return len(locked) == len(logged) and all(map(_agree, locked, logged))
    return bool(locked == logged)


def _logged_name(name: str) -> str:
    """How a training logs a param of the lock: `system.train.balance` for `systems.vit.train.balance`."""
    for section, short in SECTIONS.items():
        if name.startswith(f"{section}."):
            return ".".join([short, *name.removeprefix(f"{section}.").split(".")[1:]])
    return name


def _is_stretched(name: str) -> bool:
    """Whether a param is a count of updates, which grows with the data: `pipeline/train/budget.py`."""
    last = name.rpartition(".")[2]
    return (last == "steps" or last.endswith("_steps")) and last != "most_steps"


def _own_values(stage: Stage) -> dict[str, str]:
    """What a training's line in `graph` says in place of other params."""
    line = stage.params.get("params.yaml", {}).get(f"graph.trainings.{stage.name.partition('@')[2]}")
    if not isinstance(line, dict):
        return {}
    given = {"finetune.seed": line.get("seed"), f"systems.{line.get('system')}.train.balance": line.get("balance")}
    return {name: str(value) for name, value in given.items() if value is not None}


def _param_faults(stage: Stage, logged: dict[str, str]) -> Iterator[str]:
    """Params that the run logged with another value than the lock has."""
    own = _own_values(stage)
    for values in stage.params.values():
        for name, value in flatten(dict(values)).items():
            text = logged.get(name, logged.get(_logged_name(name)))
            if text is None or _is_stretched(name):
                continue
            value = own.get(name, value)
            if not _agree(_literal(value), _literal(text)):
                yield f"param {name} is {text}, the lock has {value}"


def _input_faults(case: Case, stage: Stage, run: Any) -> Iterator[str]:
    """Data sets of the run that are not the deps of the lock, by DVC's digest."""
    told = {entry.dataset.name: entry.dataset.digest for entry in run.inputs.dataset_inputs}
    known = case.lock.items()
    for dep in stage.deps:
        # a folder within an output is told by the digest of that output
        holders = {item.md5 for path, item in known.items() if is_below(dep.path, path)}
        digest = told.get(dep.path)
        if digest is None:
            yield f"it names no data set {dep.path}"
        elif digest != "unknown" and digest not in {md5[:36] for md5 in {dep.md5, *holders}}:
            yield f"data set {dep.path} is {digest}, the lock has {dep.md5}"


def _metric_faults(case: Case, stage: Stage, logged: dict[str, float]) -> Iterator[str]:
    """Metrics that are not those of an ensemble's metrics.json; a training logs each of its evaluations."""
    for item in (item for item in stage.outs if is_below(item.path, ENSEMBLE.as_posix())):
        path = case.objects.within(item, "metrics.json") if item.is_folder else None
        tree = json.loads(path.read_text(encoding="utf-8")) if path else {}
        for name, value in tree.items() if isinstance(tree, dict) else ():
            if isinstance(value, int | float) and name in logged and abs(logged[name] - value) > 1e-9:
                yield f"metric {name} is {logged[name]:.6g}, {item.path}/metrics.json has {value:.6g}"


def _artifact_faults(stage: Stage, run: Any) -> Iterator[str]:
    """Attached files whose digest is not the run's tag, or whose content is not the lock's."""
    here = STATE / "mlartifacts" / run.info.run_id / "artifacts"  # a store that was copied still names its old place
    folder = here if here.is_dir() else Path(str(run.info.artifact_uri).removeprefix("file://"))
    if not folder.is_dir():
        return
    for name, tag in (("params.yaml", "params.sha256"), (LOCKS[0], "dvc.lock.sha256")):
        path = folder / name
        digest = file_digest(path) if path.is_file() else None
        if digest and run.data.tags.get(tag) != digest:
            yield f"the attached {name} is not the one of its tag {tag}"
        elif digest and name == LOCKS[0]:
            yield from _attached_lock_faults(stage, path.read_bytes())
    params = folder / "params.yaml"
    if params.is_file():
        tree = flatten(load_yaml(params.read_bytes(), "the attached params.yaml"))
        for name, value in flatten(dict(stage.params.get("params.yaml", {}))).items():
            if name in tree and tree[name] != value:
                yield f"the attached params.yaml has {name} {tree[name]}, the lock {value}"


def _attached_lock_faults(stage: Stage, text: bytes) -> Iterator[str]:
    """Inputs whose digest was another one in the lock when the stage ran."""
    stages = parse_lock({LOCKS[0]: text}, "the run").values()
    then = {item.path: item.md5 for other in stages for item in other.outs}
    for dep in stage.deps:
        if dep.path in then and then[dep.path] != dep.md5:
            yield f"the attached dvc.lock has {dep.path} as {then[dep.path]}, the lock {dep.md5}"
