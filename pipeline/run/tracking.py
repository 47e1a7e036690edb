"""One MLflow run for each stage run, under `dvc repro` and under Prefect alike.

All MLflow calls go through one background thread, so logging never holds up training. A server that cannot be reached
costs a warning and no result: the run is written to `.mien/spool/` and delivered by the next stage that finds a server.
"""

import contextlib
import hashlib
import json
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.core.definition import stage_outs
from pipeline.core.deps import stage_deps
from pipeline.core.files import atomic_write_text, file_digest
from pipeline.core.paths import RUNS, SCORES
from pipeline.core.secrets import redacted
from pipeline.run.delivery import SPOOL, Delivery, deliver_spool, this_process, warn
from pipeline.run.environment import children_peak_bytes, peak_memory_bytes, prepare
from pipeline.run.git import git
from pipeline.run.lock import lock_stages
from pipeline.run.machine import machine_facts
from pipeline.run.outputs import written
from pipeline.run.ranks import is_helper

FLUSH_SECONDS = 5.0
FLOW_PAGE = "MIEN_FLOW_PAGE"  # the address of the flow run's page, where its server outlives it
LOCKS = ("dvc.lock", "demo/dvc.lock")
WRITTEN = (*LOCKS, SCORES.as_posix())  # by the run itself: a change of theirs is none of the user's


def run_file(stage: str) -> Path:
    """Where the `run.json` of a stage (`finetune@vit-expr`) lies; nobody depends on it."""
    return RUNS / stage / "run.json"


def locked_outs() -> dict[str, str]:
    """md5 of each output that a dvc.lock of this workspace knows, by its path from the project's root.

    demo/dvc.yaml works from the root (`wdir: ..`), so its paths need no change.
    """
    found: dict[str, str] = {}
    for lock in map(Path, LOCKS):
        stages = lock_stages(lock.read_text(encoding="utf-8"), lock.as_posix()) if lock.is_file() else {}
        for stage in stages.values():
            found |= {out["path"].removeprefix("../"): out.get("md5", "") for out in stage.get("outs", [])}
    return found


def input_digest(path: Path, locked: dict[str, str]) -> str:
    """md5 that identifies an input: a file's own, DVC's for a folder that it knows or that lies within one."""
    if path.is_file():
        return file_digest(path, "md5")
    for candidate in (path, *path.parents):
        if digest := locked.get(candidate.as_posix()):
            return digest
    return "unknown"


def uncommitted() -> dict[str, str]:
    """md5 of each tracked file that is not as the commit has it, by its path; empty text where it is deleted."""
    listed = git(
        "diff",
        "--name-only",
        "--relative",
        "--no-renames",
        "-z",
        "HEAD",
        "--",
        ".",
        *(f":(exclude){name}" for name in WRITTEN),
    )
    paths = [Path(name) for name in listed.split("\0") if name]
    return {path.as_posix(): file_digest(path, "md5") if path.is_file() else "" for path in paths}


def run_tags(stage: str) -> dict[str, str]:
    """What identifies the code, the params, the environment and the machine of a run."""
    tags = {
        "mlflow.runName": stage,
        "dvc.stage": stage,
        "git.commit": git("rev-parse", "HEAD"),
        "git.dirty": str(bool(uncommitted())).lower(),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    names = {"params.yaml": "params.sha256", "requirements.lock": "env.lock.sha256"}
    tags |= {tag: file_digest(Path(name)) for name, tag in names.items() if Path(name).is_file()}
    if flow := os.environ.get("MIEN_FLOW_RUN"):
        tags["prefect.flow_run"] = flow
    if page := redacted(os.environ.get(FLOW_PAGE, "")):
        tags["mlflow.note.content"] = f"A stage of [Prefect's flow run]({page})."  # the description, where links work
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
        spool_id, lock = uuid.uuid4().hex, Path(LOCKS[0])
        text = lock.read_bytes() if lock.is_file() else b""
        digest = {"dvc.lock.sha256": hashlib.sha256(text).hexdigest()} if text else {}
        self.data: dict[str, Any] = {
            "spool_id": spool_id,
            "stage": stage,
            "started_ms": int(time.time() * 1000),
            "tags": run_tags(stage) | digest | {"mien.spool_id": spool_id, "mien.process": this_process()},
            "lock": text.decode(errors="replace"),
            "params": flatten(params),
            "uncommitted": uncommitted(),
            "inputs": {path.as_posix(): input_digest(path, locked) for path in inputs},
            "outputs": {},
            "metrics": [],
            "artifacts": [],
            "status": "RUNNING",
        }


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
            first = (str(error) or type(error).__name__).splitlines()[0][:160]
            warn(f"MLflow run not delivered yet ({first}); kept in {SPOOL}")

    def _open(self) -> None:
        delivery = Delivery()
        deliver_spool(delivery)
        delivery.end_abandoned(self.record["stage"])
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
            try:
                atomic_write_text(SPOOL / f"{self.record['spool_id']}.json", json.dumps(self.record))
            except OSError as error:  # it costs the record, and no result
                warn(f"{SPOOL}: {error.strerror}; the run of {self.record['stage']} is not recorded")


class Unheard:
    """The handle of a process that only helps."""

    workers = 0

    def log(self, metrics: dict[str, float], step: int = 0) -> None:
        """Rank 0 logs."""

    def artifact(self, path: Path) -> None:
        """Rank 0 attaches."""


def _run_json(run: Run, seconds: float) -> str:
    record = run.record
    content = {
        "stage": record["stage"],
        "run_id": run.run_id,
        "spool_id": record["spool_id"] if run.run_id is None else None,
        "tracking_uri": redacted(os.environ["MLFLOW_TRACKING_URI"]),
        "git_commit": record["tags"].get("git.commit"),
        "git_dirty": bool(record["uncommitted"]),
        "uncommitted": record["uncommitted"],
        "hardware": record["tags"]["hardware"],
        "machine": record["machine"],
        "outputs": record["outputs"],
        "seconds": round(seconds, 2),
        "peak_memory_bytes": peak_memory_bytes(),
        "workers": run.workers,
        "largest_child_bytes": children_peak_bytes(),
    }
    return json.dumps(content, indent=1) + "\n"


@contextlib.contextmanager
def stage_run(stage: str, params: dict[str, Any]) -> Iterator[Run | Unheard]:
    """Log what happens inside the block as one run of `stage`, and publish its `run.json` when it succeeds.

    The inputs that it names are those of dvc.yaml, so they cannot say anything else than the graph. Of a training's
    processes one tells of it.
    """
    prepare()
    if is_helper():
        yield Unheard()
        return
    started = time.monotonic()
    run = Run(Record(stage, params, stage_deps(stage)))
    try:
        yield run
    except BaseException:
        run.finish("FAILED")
        raise
    run.record["machine"] = machine_facts()  # now, since by now the stage has loaded what it sums with
    run.record["outputs"] = written(path for path in stage_outs(stage) if not path.is_relative_to(RUNS))
    run.log({"stage_seconds": time.monotonic() - started, "peak_memory_bytes": peak_memory_bytes()})
    run.finish("FINISHED")
    atomic_write_text(run_file(stage), _run_json(run, time.monotonic() - started))
