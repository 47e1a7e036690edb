"""One MLflow run a stage run: what it holds, and that a server that is away costs no result."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.base.environment import STATE, without_credentials
from pipeline.base.tracking import flatten, input_digest, locked_outs, run_file, stage_run
from pipeline.errors import MienError


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> str:
    """One MLflow database for all: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def tracked(workspace, database, monkeypatch) -> MlflowClient:
    """A workspace that is a git repository, and a client of its tracking server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    Path(".gitignore").write_text(".mien/\nartifacts/\n")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "start"]):
        subprocess.run(["git", *arguments], check=True)
    return MlflowClient(database)


@pytest.fixture
def nowhere() -> str:
    """host:port where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{held.getsockname()[1]}"


def told(stage: str) -> dict[str, Any]:
    return json.loads(run_file(stage).read_text())


def spooled() -> list[Path]:
    return sorted((STATE / "spool").glob("*"))


def runs_of(client: MlflowClient, stage: str) -> list[Run]:
    experiment = client.get_experiment_by_name("mien")
    return client.search_runs([experiment.experiment_id], f"tags.`dvc.stage` = '{stage}'")


# --- a reachable server ----------------------------------------------------------------------------------------------


def test_a_run_holds_everything(tracked, monkeypatch):
    monkeypatch.setenv("MIEN_FLOW_RUN", "flow-7")
    Path("in.txt").write_text("input")
    Path("folder").mkdir()
    Path("folder/result.json").write_text("{}")
    with stage_run("one", {"finetune": {"optimise": {"steps": 3}}, "track": "va"}, [Path("in.txt")]) as run:
        run.log({"loss": 2.0, "score": 0.1}, 0)
        run.log({"loss": 1.0}, 10)
        run.artifact(Path("folder"))
        run.workers = 2
    found = told("one")
    (stored,) = runs_of(tracked, "one")
    assert found["run_id"] == stored.info.run_id and found["spool_id"] is None
    assert (found["stage"], found["workers"], found["git_dirty"]) == ("one", 2, False)
    assert found["seconds"] > 0 and found["peak_memory_bytes"] > 1e6
    assert stored.info.status == "FINISHED" and stored.info.run_name == "one"
    assert stored.data.params == {"finetune.optimise.steps": "3", "track": "va"}
    loss = tracked.get_metric_history(stored.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in loss] == [(0, 2.0), (10, 1.0)]
    assert stored.data.metrics["score"] == 0.1 and stored.data.metrics["stage_seconds"] > 0
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert stored.data.tags["git.commit"] == found["git_commit"] == commit
    assert stored.data.tags["git.dirty"] == "false" and stored.data.tags["prefect.flow_run"] == "flow-7"
    assert len(stored.data.tags["params.sha256"]) == 64 and stored.data.tags["python"].startswith("3.")
    (dataset,) = stored.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("in.txt", "a43c1b0aa53a0c908810c06ab1ff3967")
    assert {tag.key: tag.value for tag in dataset.tags}["dvc.md5"] == "a43c1b0aa53a0c908810c06ab1ff3967"
    names = {file.path for file in tracked.list_artifacts(stored.info.run_id)}
    assert {"params.yaml", "folder"} <= names  # a folder keeps its path: two may hold files of the same name
    assert [f.path for f in tracked.list_artifacts(stored.info.run_id, "folder")] == ["folder/result.json"]
    assert spooled() == []


def test_a_failing_stage_is_a_failed_run_and_tells_no_run_json(tracked):
    Path("params.yaml").write_text("changed: 1\n")
    with pytest.raises(MienError, match="no data"), stage_run("two", {}, []) as run:
        run.log({"loss": 3.0}, 4)
        raise MienError("no data")
    (stored,) = runs_of(tracked, "two")
    assert stored.info.status == "FAILED" and stored.data.metrics["loss"] == 3.0
    assert stored.data.tags["git.dirty"] == "true"
    assert not run_file("two").exists()


def test_many_metrics_arrive_complete(tracked):
    with stage_run("many", {}, []) as run:
        for step in range(1500):
            run.log({"loss": float(step)}, step)
    (stored,) = runs_of(tracked, "many")
    assert [m.value for m in tracked.get_metric_history(stored.info.run_id, "loss")] == list(range(1500))


# --- a server that is away -------------------------------------------------------------------------------------------


def test_a_server_that_is_away_costs_a_warning_and_is_told_later(tracked, database, nowhere, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hunter2@{nowhere}")
    with stage_run("late", {"seed": 1}, []) as run:
        run.log({"loss": 0.5}, 3)
        run.artifact(Path("weights.yaml"))
    captured = capfd.readouterr()
    assert captured.err.count("warning: MLflow run not delivered yet") == 1
    found = told("late")
    assert found["run_id"] is None and found["tracking_uri"] == f"http://{nowhere}"
    (waiting,) = spooled()
    assert waiting.stem == found["spool_id"]
    for text in (run_file("late").read_text(), waiting.read_text(), captured.err, captured.out):
        assert "hunter2" not in text

    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    with stage_run("next", {}, []):
        pass
    assert spooled() == [] and "warning" not in capfd.readouterr().err
    (stored,) = runs_of(tracked, "late")
    assert stored.data.tags["mien.delivered_late"] == "true" and stored.info.status == "FINISHED"
    assert stored.data.params == {"seed": "1"}
    assert [(m.step, m.value) for m in tracked.get_metric_history(stored.info.run_id, "loss")] == [(3, 0.5)]
    assert "weights.yaml" in {file.path for file in tracked.list_artifacts(stored.info.run_id)}
    assert stored.info.start_time <= runs_of(tracked, "next")[0].info.start_time
    assert "mien.delivered_late" not in runs_of(tracked, "next")[0].data.tags
    assert told("next")["run_id"] == runs_of(tracked, "next")[0].info.run_id


def test_a_server_that_is_away_hides_no_error_of_the_stage(tracked, nowhere, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{nowhere}")
    with pytest.raises(ZeroDivisionError), stage_run("away", {}, []):
        raise ZeroDivisionError
    (waiting,) = spooled()
    assert json.loads(waiting.read_text())["status"] == "FAILED"


def test_a_damaged_spool_file_does_not_hold_up_the_others(tracked, capfd):
    (STATE / "spool").mkdir(parents=True)
    (STATE / "spool" / "0.json").write_text('{"stage": "cut o')
    with stage_run("after", {}, []):
        pass
    (stored,) = runs_of(tracked, "after")
    assert stored.info.status == "FINISHED" and told("after")["run_id"] == stored.info.run_id
    assert [path.name for path in spooled()] == ["0.json.unreadable"]
    assert "0.json" in capfd.readouterr().err


def test_credentials_are_removed():
    assert without_credentials("https://me:pw@host:5000/x") == "https://host:5000/x"
    assert without_credentials("postgresql://token@host/db") == "postgresql://host/db"
    assert without_credentials("sqlite:///data/a@b.db") == "sqlite:///data/a@b.db"


# --- inputs ----------------------------------------------------------------------------------------------------------


def write_lock(path: str, outs: dict[str, str | None]) -> None:
    entries = [{"path": name, **({"md5": md5} if md5 else {})} for name, md5 in outs.items()]
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(yaml.safe_dump({"schema": "2.0", "stages": {"s": {"cmd": "x", "outs": entries}}}))


def test_digests_come_from_the_locks(workspace):
    write_lock("dvc.lock", {"artifacts/faces": "aaa.dir", "reports/index.html": "bbb", "artifacts/new": None})
    write_lock("demo/dvc.lock", {"../data/raw/demo": "ccc.dir"})
    locked = locked_outs()
    assert input_digest(Path("artifacts/faces"), locked) == "aaa.dir"
    assert input_digest(Path("artifacts/faces/lsd/deep"), locked) == "aaa.dir"  # a parent's
    assert input_digest(Path("reports/index.html"), locked) == "bbb"
    assert input_digest(Path("data/raw/demo"), locked) == "ccc.dir"
    assert input_digest(Path("artifacts/faces2"), locked) == "unknown"
    Path("artifacts/new").mkdir(parents=True)
    assert input_digest(Path("artifacts/new"), locked) == "unknown"
    Path("file").write_text("input")
    assert input_digest(Path("file"), locked) == "a43c1b0aa53a0c908810c06ab1ff3967"


def test_without_locks_nothing_is_known(workspace):
    assert locked_outs() == {}
    Path("dvc.lock").write_text("")
    assert locked_outs() == {}


def test_the_lock_that_dvc_writes_for_the_demo_is_understood(workspace):
    """demo/dvc.yaml works from the root: what DVC itself writes into its lock must be found."""
    Path("demo").mkdir()
    stage = {"wdir": "..", "cmd": "mkdir -p data/raw/demo && echo x > data/raw/demo/a", "outs": ["data/raw/demo"]}
    Path("demo/dvc.yaml").write_text(yaml.safe_dump({"stages": {"synthesize": stage}}))
    for arguments in (["init", "-q", "--no-scm"], ["repro", "-q", "demo/dvc.yaml:synthesize"]):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True)
    digest = input_digest(Path("data/raw/demo"), locked_outs())
    assert len(digest) == 36 and digest.endswith(".dir")


def test_flatten():
    assert flatten({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": None}) == {"a.b.c": "1", "a.d": "[1, 2]", "e": "None"}
