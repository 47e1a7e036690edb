"""One MLflow run for each stage run, under `dvc repro` and under Prefect alike.

All MLflow calls go through one background thread, so logging never holds up training. A server that cannot be reached
costs a warning and no result: the run is written to `.mien/spool/` and delivered by the next stage that finds a server.
"""

import contextlib
import hashlib
import json
import logging
import os
import platform
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from pipeline.base.environment import STATE, children_peak_bytes, git, peak_memory_bytes, prepare, without_credentials
from pipeline.layout import RUNS
from pipeline.publish import atomic_write_text

EXPERIMENT = "mien"
FLUSH_SECONDS = 5.0
COMMON_ARTIFACTS = ("params.yaml", "dvc.lock", "requirements.lock")
SERVER_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


def run_file(stage: str) -> Path:
    """Where the `run.json` of a stage (`finetune@vit-expr`) lies; nobody depends on it."""
    return RUNS / stage / "run.json"


def _file_digest(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


def locked_outs() -> dict[str, str]:
    """md5 of each output that a dvc.lock of this workspace knows, by its path from the project's root.

    demo/dvc.yaml works from the root (`wdir: ..`), so its paths need no change.
    """
    found: dict[str, str] = {}
    for lock in (Path("dvc.lock"), Path("demo/dvc.lock")):
        tree = yaml.load(lock.read_text(), yaml.CSafeLoader) if lock.is_file() else None
        for stage in ((tree or {}).get("stages") or {}).values():
            found |= {out["path"].removeprefix("../"): out.get("md5", "") for out in stage.get("outs", [])}
    return found


def input_digest(path: Path, locked: dict[str, str]) -> str:
    """md5 that identifies an input: DVC's own for an output it knows or lies within, else the file's."""
    for candidate in (path, *path.parents):
        if digest := locked.get(candidate.as_posix()):
            return digest
    return _file_digest(path, "md5") if path.is_file() else "unknown"


def run_tags(stage: str) -> dict[str, str]:
    """What identifies the code, the params, the environment and the machine of a run."""
    tags = {
        "mlflow.runName": stage,
        "dvc.stage": stage,
        "git.commit": git("rev-parse", "HEAD"),
        "git.dirty": str(bool(git("status", "--porcelain", "--untracked-files=no"))).lower(),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    names = {"params.yaml": "params.sha256", "dvc.lock": "dvc.lock.sha256", "requirements.lock": "env.lock.sha256"}
    tags |= {tag: _file_digest(Path(name), "sha256") for name, tag in names.items() if Path(name).is_file()}
    if flow := os.environ.get("MIEN_FLOW_RUN"):
        tags["prefect.flow_run"] = flow
    return {key: value for key, value in tags.items() if value}


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested params as dotted names and strings."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, dict) else {name: str(value)}
    return flat


class Record:
    """What one stage run has to say; plain data, so that it can wait in a file for its server."""

    def __init__(self, stage: str, params: dict[str, Any], inputs: list[Path]) -> None:
        locked = locked_outs()
        self.data: dict[str, Any] = {
            "spool_id": uuid.uuid4().hex,
            "stage": stage,
            "started_ms": int(time.time() * 1000),
            "tags": run_tags(stage),
            "params": flatten(params),
            "inputs": {path.as_posix(): input_digest(path, locked) for path in inputs},
            "metrics": [],
            "artifacts": [],
            "status": "RUNNING",
        }


class Delivery:
    """Writes a `Record` into MLflow."""

    def __init__(self) -> None:
        for name, value in SERVER_PATIENCE.items():
            os.environ.setdefault(name, value)
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        from mlflow import MlflowClient

        self.client = MlflowClient()

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found:
            return found.experiment_id
        uri = os.environ["MLFLOW_TRACKING_URI"]
        location = (STATE.resolve() / "mlartifacts").as_uri() if uri.startswith("sqlite") else None
        return self.client.create_experiment(EXPERIMENT, artifact_location=location)

    def open(self, record: dict[str, Any]) -> str:
        """Create the run with its tags, params and data sets; returns the run id."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        run = self.client.create_run(self._experiment(), start_time=record["started_ms"], tags=record["tags"])
        run_id = run.info.run_id
        self.client.log_batch(run_id, params=[Param(k, v[:6000]) for k, v in sorted(record["params"].items())])
        datasets = [
            DatasetInput(Dataset(path, digest[:36], "dvc", json.dumps({"path": path})), [InputTag("dvc.md5", digest)])
            for path, digest in sorted(record["inputs"].items())
        ]
        self.client.log_inputs(run_id, datasets=datasets)
        return run_id

    def metrics(self, run_id: str, rows: list[tuple[str, float, int, int]]) -> None:
        """Log (name, value, time in ms, step) rows, up to MLflow's 1,000 a call."""
        from mlflow.entities import Metric

        for start in range(0, len(rows), 1000):
            self.client.log_batch(run_id, metrics=[Metric(n, v, t, s) for n, v, t, s in rows[start : start + 1000]])

    def close(self, run_id: str, record: dict[str, Any]) -> None:
        """Attach the artifacts and end the run."""
        for path in (*COMMON_ARTIFACTS, *record["artifacts"]):
            if Path(path).exists():
                if Path(path).is_dir():
                    self.client.log_artifacts(run_id, path, artifact_path=path)
                else:
                    self.client.log_artifact(run_id, path)
        self.client.set_terminated(run_id, record["status"], record.get("ended_ms"))

    def whole(self, record: dict[str, Any]) -> str:
        """Deliver a spooled record from start to end."""
        record["tags"]["mien.delivered_late"] = "true"
        run_id = self.open(record)
        self.metrics(run_id, [tuple(row) for row in record["metrics"]])
        self.close(run_id, record)
        return run_id


class Run:
    """The handle a stage logs through."""

    def __init__(self, record: Record) -> None:
        self.record = record.data
        self.run_id: str | None = None
        self.workers = 0  # worker processes the stage used
        self._sent = 0
        self._flushed = time.monotonic()
        self._thread = ThreadPoolExecutor(1, "mlflow")
        self._delivery: Delivery | None = None
        self._pending: list[Future] = [self._thread.submit(self._guarded, self._open)]

    def log(self, metrics: dict[str, float], step: int = 0) -> None:
        """Record metrics of a step; they travel in batches every few seconds."""
        now = int(time.time() * 1000)
        self.record["metrics"] += [(name, float(value), now, step) for name, value in metrics.items()]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flushed = time.monotonic()
            self._pending.append(self._thread.submit(self._guarded, self._flush))

    def artifact(self, path: Path) -> None:
        """Attach a file or folder when the run ends."""
        self.record["artifacts"].append(path.as_posix())

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run one MLflow step; the first failure ends the talk with the server, not the stage."""
        try:
            step()
        except Exception as error:  # any failure of the tracking server must cost no result
            self._delivery = None
            text = without_credentials(str(error)) or type(error).__name__  # clients put the whole URI into messages
            first = text.splitlines()[0][:160]
            print(f"warning: MLflow run not delivered yet ({first}); kept in {STATE / 'spool'}", file=sys.stderr)

    def _open(self) -> None:
        delivery = Delivery()
        deliver_spool(delivery)
        self.run_id = delivery.open(self.record)
        self._delivery = delivery

    def _flush(self) -> None:
        if self._delivery and self.run_id:
            rows, self._sent = self.record["metrics"][self._sent :], len(self.record["metrics"])
            self._delivery.metrics(self.run_id, rows)

    def _close(self) -> None:
        if self._delivery and self.run_id:
            self._delivery.close(self.run_id, self.record)

    def finish(self, status: str) -> None:
        """End the run and wait for the server; what it did not take goes to the spool."""
        self.record |= {"status": status, "ended_ms": int(time.time() * 1000)}
        for step in (self._flush, self._close):
            self._pending.append(self._thread.submit(self._guarded, step))
        self._thread.shutdown(wait=True)
        if self._delivery is None:
            self.run_id = None
            atomic_write_text(STATE / "spool" / f"{self.record['spool_id']}.json", json.dumps(self.record))


def deliver_spool(delivery: Delivery) -> int:
    """Deliver the runs that found no server; returns how many. A damaged file is put aside, with a warning."""
    delivered = 0
    for path in sorted((STATE / "spool").glob("*.json")):
        try:
            record = json.loads(path.read_text())
        except ValueError:
            path.rename(path.with_suffix(".json.unreadable"))
            print(f"warning: {path} is damaged and cannot be delivered to MLflow; put aside", file=sys.stderr)
            continue
        delivery.whole(record)
        path.unlink()
        delivered += 1
    return delivered


def _run_json(run: Run, seconds: float) -> str:
    record = run.record
    content = {
        "stage": record["stage"],
        "run_id": run.run_id,
        "spool_id": record["spool_id"] if run.run_id is None else None,
        "tracking_uri": without_credentials(os.environ["MLFLOW_TRACKING_URI"]),
        "git_commit": record["tags"].get("git.commit"),
        "git_dirty": record["tags"].get("git.dirty") == "true",
        "seconds": round(seconds, 2),
        "peak_memory_bytes": peak_memory_bytes(),
        "workers": run.workers,
        "largest_child_bytes": children_peak_bytes(),
    }
    return json.dumps(content, indent=1) + "\n"


@contextlib.contextmanager
def stage_run(stage: str, params: dict[str, Any], inputs: list[Path]) -> Iterator[Run]:
    """Log what happens inside the block as one run of `stage`, and publish its `run.json` when it succeeds."""
    prepare()
    started = time.monotonic()
    run = Run(Record(stage, params, inputs))
    try:
        yield run
    except BaseException:
        run.finish("FAILED")
        raise
    run.log({"stage_seconds": time.monotonic() - started, "peak_memory_bytes": peak_memory_bytes()})
    run.finish("FINISHED")
    atomic_write_text(run_file(stage), _run_json(run, time.monotonic() - started))
