"""Runs into MLflow: one at a time while a stage runs, and from the spool those that found no server.

A record carries an id of its own (`mien.spool_id`), by which a run is found again: delivering twice gives one run,
whoever delivers, and a run that a dead server or a killed process left half told is told anew or ended.
"""

import contextlib
import fcntl
import json
import logging
import os
import socket
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from pipeline.core.errors import MienError
from pipeline.core.secrets import redacted
from pipeline.run.environment import STATE

EXPERIMENT = "mien"
COMMON_ARTIFACTS = ("params.yaml", "requirements.lock")
SERVER_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
OUTPUT_TAG = "dvc.out/"  # before an output's path in the name of the tag that holds its md5
SPOOL = STATE / "spool"
RECORD = {"spool_id": str, "stage": str, "started_ms": int, "tags": dict, "params": dict, "inputs": dict}
RECORD |= {"metrics": list, "artifacts": list, "status": str}


def warn(text: str) -> None:
    """One line on standard error, credentials removed."""
    print(f"warning: {redacted(text)}", file=sys.stderr)


def this_process() -> str:
    """Host and process id, as runs are tagged with them."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_gone(process: str) -> bool:
    """Whether a process of this host has ended; one of another host may live."""
    host, _, pid = process.rpartition(":")
    return host == socket.gethostname() and pid.isdigit() and not psutil.pid_exists(int(pid))


def check_sqlite(uri: str) -> None:
    """Fail at once on a database that cannot be opened: MLflow would try for two minutes."""
    if not uri.startswith("sqlite:///"):
        return
    path = Path(uri.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, timeout=5)) as connection:
        connection.execute("PRAGMA schema_version").fetchone()


class Delivery:
    """Writes records into MLflow."""

    def __init__(self) -> None:
        for name, value in SERVER_PATIENCE.items():
            os.environ.setdefault(name, value)
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        check_sqlite(os.environ["MLFLOW_TRACKING_URI"])
        from mlflow import MlflowClient

        self.client = MlflowClient()

    def experiment(self) -> str:
        """The id of the experiment that all runs go to, made where it is missing; `MienError` where it is deleted."""
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found and found.lifecycle_stage == "deleted":
            raise MienError(
                f"MLflow's experiment {EXPERIMENT} is deleted; `mlflow experiments restore -x {found.experiment_id}`"
            )
        if found:
            return found.experiment_id
        uri = os.environ["MLFLOW_TRACKING_URI"]
        location = (STATE.resolve() / "mlartifacts").as_uri() if uri.startswith("sqlite") else None
        return self.client.create_experiment(EXPERIMENT, artifact_location=location)

    def open(self, record: dict[str, Any]) -> str:
        """Create the run with its tags, params and data sets; returns the run id."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        run = self.client.create_run(self.experiment(), start_time=record["started_ms"], tags=record["tags"])
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
        """Say what was written, attach the artifacts, end the run; a root that takes none leaves no run open."""
        self._tell_outputs(run_id, record.get("outputs", {}))
        try:
            self._attach(run_id, record)
        except Exception as error:  # the store's own, a full disk, a root that is not ours
            warn(f"artifacts of {record['stage']} were not attached: {str(error).splitlines()[0][:160]}")
        self.client.set_terminated(run_id, record["status"], record.get("ended_ms"))

    def _tell_outputs(self, run_id: str, outputs: dict[str, str]) -> None:
        """A tag an output with its md5, up to MLflow's 100 a call."""
        from mlflow.entities import RunTag

        tags = [RunTag(f"{OUTPUT_TAG}{path}", digest) for path, digest in sorted(outputs.items())]
        for start in range(0, len(tags), 100):
            self.client.log_batch(run_id, tags=tags[start : start + 100])

    def _attach(self, run_id: str, record: dict[str, Any]) -> None:
        if lock := record.get("lock"):  # as it was at the start: stages that ran beside this one have changed it since
            self.client.log_text(run_id, lock, "dvc.lock")
        for path in (*COMMON_ARTIFACTS, *record["artifacts"]):
            if Path(path).is_dir():
                self.client.log_artifacts(run_id, path, artifact_path=path)
            elif Path(path).exists():
                self.client.log_artifact(run_id, path)

    def whole(self, record: dict[str, Any]) -> str:
        """Deliver a spooled record from start to end, once: a run that is there is kept, a half told one replaced."""
        for run in self._runs(f"tags.`mien.spool_id` = '{record['spool_id']}'"):
            if run.info.status != "RUNNING":
                return run.info.run_id
            self.client.delete_run(run.info.run_id)
        record["tags"] |= {"mien.delivered_late": "true", "mien.spool_id": record["spool_id"]}
        run_id = self.open(record)
        self.metrics(run_id, [tuple(row) for row in record["metrics"]])
        self.close(run_id, record)
        return run_id

    def end_abandoned(self, stage: str) -> None:
        """End the runs of a stage whose process was killed."""
        for run in self._runs(f"tags.`dvc.stage` = '{stage}' and attributes.status = 'RUNNING'"):
            if _is_gone(run.data.tags.get("mien.process", "")):
                self.client.set_terminated(run.info.run_id, "KILLED")

    def _runs(self, query: str) -> list[Any]:
        return list(self.client.search_runs([self.experiment()], query))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether this process holds the folder's lock; it goes with the process, however that ends."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def read_record(path: Path) -> dict[str, Any]:
    """A spooled record; ValueError where the file is none."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or any(not isinstance(record.get(name), kind) for name, kind in RECORD.items()):
        raise ValueError("not a record of a run")
    return record


def deliver_spool(delivery: Delivery) -> int:
    """Deliver the runs that found no server; returns how many. A damaged file is put aside, with a warning.

    One process at a time does this; another that comes meanwhile leaves it to that one.
    """
    if not SPOOL.is_dir():
        return 0
    delivered = 0
    with _alone(SPOOL) as alone:
        for path in sorted(SPOOL.glob("*.json")) if alone else ():
            try:
                record = read_record(path)
            except (ValueError, OSError):
                with contextlib.suppress(OSError):
                    path.rename(path.with_suffix(".json.unreadable"))
                warn(f"{path} is damaged and cannot be delivered to MLflow; put aside")
                continue
            delivery.whole(record)
            path.unlink()
            delivered += 1
    return delivered
