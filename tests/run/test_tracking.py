"""One MLflow run a stage run: what it holds, and that a server that is away costs no result."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.core.errors import MienError
from pipeline.run.delivery import Delivery, deliver_spool
from pipeline.run.environment import STATE
from pipeline.run.outputs import dvc_md5
from pipeline.run.tracking import Record, flatten, input_digest, locked_outs, run_file, stage_run


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> str:
    """One MLflow database for all: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(autouse=True)
def stages(workspace) -> None:
    """A graph of the stages that the tests run: the inputs of a run are those of dvc.yaml."""
    names = (
        "two",
        "many",
        "late",
        "next",
        "away",
        "after",
        *(f"{n}-{a}" for n in ("beside", "later") for a in (True, False)),
    )
    entries = {"one": {"cmd": "x", "deps": ["in.txt"]}} | {name: {"cmd": "x"} for name in names}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": entries}))


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
    return sorted(path for path in (STATE / "spool").glob("*") if path.name != ".lock")


def runs_of(client: MlflowClient, stage: str) -> list[Run]:
    experiment = client.get_experiment_by_name("mien")
    assert experiment is not None
    return client.search_runs([experiment.experiment_id], f"tags.`dvc.stage` = '{stage}'")


# --- a reachable server ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_holds_everything(tracked, monkeypatch):
    monkeypatch.setenv("MIEN_FLOW_RUN", "flow-7")
    Path("in.txt").write_text("input")
    Path("folder").mkdir()
    Path("folder/result.json").write_text("{}")
    with stage_run("one", {"finetune": {"optimise": {"steps": 3}}, "track": "va"}) as run:
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
    assert stored.inputs is not None
    (dataset,) = stored.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("in.txt", "a43c1b0aa53a0c908810c06ab1ff3967")
    assert {tag.key: tag.value for tag in dataset.tags}["dvc.md5"] == "a43c1b0aa53a0c908810c06ab1ff3967"
    names = {file.path for file in tracked.list_artifacts(stored.info.run_id)}
    assert {"params.yaml", "folder"} <= names  # a folder keeps its path: two may hold files of the same name
    assert [f.path for f in tracked.list_artifacts(stored.info.run_id, "folder")] == ["folder/result.json"]
    assert spooled() == []


@pytest.mark.slow
@pytest.mark.parametrize("away", [False, True])
def test_the_attached_lock_is_that_of_the_start(tracked, monkeypatch, tmp_path, away):
    """A stage that runs beside this one ends first, and DVC writes it into the lock; so may others before delivery."""
    before, after = "schema: '2.0'\nstages: {}\n", "schema: '2.0'\nstages: {other: {cmd: x}}\n"
    Path("dvc.lock").write_text(before)
    server = os.environ["MLFLOW_TRACKING_URI"]
    if away:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    first, second = f"beside-{away}", f"later-{away}"
    with stage_run(first, {}):
        Path("dvc.lock").write_text(after)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    with stage_run(second, {}):  # delivers what has waited
        pass
    for stage, text in ((first, before), (second, after)):
        (run,) = runs_of(tracked, stage)
        attached = Path(tracked.download_artifacts(run.info.run_id, "dvc.lock", str(tmp_path)))
        assert attached.read_text() == text
        assert run.data.tags["dvc.lock.sha256"] == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.slow
def test_a_run_tells_what_it_wrote_and_what_was_not_committed(tracked):
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"one": {"cmd": "x", "outs": ["out.txt", "folder"]}}}))
    Path("dvc.lock").write_text("schema: '2.0'\n")
    Path("kept.txt").write_text("a")
    for arguments in (["add", "."], ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "more"]):
        subprocess.run(["git", *arguments], check=True)
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n")  # DVC's own doing: it makes no tree dirty
    for clean in (True, False):
        if not clean:
            Path("kept.txt").write_text("b")
            Path("weights.yaml").unlink(missing_ok=True)
        with stage_run("one", {}):
            Path("out.txt").write_text("made")
            Path("folder").mkdir(exist_ok=True)
            Path("folder/x").write_text("x")
        found = told("one")
        outputs = {"out.txt": dvc_md5(Path("out.txt")), "folder": dvc_md5(Path("folder"))}
        assert found["outputs"] == outputs
        tags = tracked.get_run(found["run_id"]).data.tags
        assert {path: tags[f"dvc.out/{path}"] for path in outputs} == outputs
        changed = {} if clean else {"kept.txt": dvc_md5(Path("kept.txt")), "weights.yaml": ""}
        assert (found["git_dirty"], found["uncommitted"]) == (not clean, changed)
        assert found["hardware"] == tags["hardware"]


def test_a_failing_stage_is_a_failed_run_and_tells_no_run_json(tracked):
    Path("params.yaml").write_text("changed: 1\n")
    with pytest.raises(MienError, match="no data"), stage_run("two", {}) as run:
        run.log({"loss": 3.0}, 4)
        raise MienError("no data")
    (stored,) = runs_of(tracked, "two")
    assert stored.info.status == "FAILED" and stored.data.metrics["loss"] == 3.0
    assert stored.data.tags["git.dirty"] == "true"
    assert not run_file("two").exists()


@pytest.mark.slow
def test_many_metrics_arrive_complete(tracked):
    with stage_run("many", {}) as run:
        for step in range(1500):
            run.log({"loss": float(step)}, step)
    (stored,) = runs_of(tracked, "many")
    assert [m.value for m in tracked.get_metric_history(stored.info.run_id, "loss")] == list(range(1500))


# --- a server that is away -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_that_is_away_costs_a_warning_and_is_told_later(tracked, database, nowhere, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:hunter2@{nowhere}")
    with stage_run("late", {"seed": 1}) as run:
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
    with stage_run("next", {}):
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


@pytest.mark.slow
def test_a_server_that_is_away_hides_no_error_of_the_stage(tracked, nowhere, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{nowhere}")
    with pytest.raises(ZeroDivisionError), stage_run("away", {}):
        raise ZeroDivisionError
    (waiting,) = spooled()
    assert json.loads(waiting.read_text())["status"] == "FAILED"


@pytest.mark.slow
def test_a_damaged_spool_file_does_not_hold_up_the_others(tracked, capfd):
    (STATE / "spool").mkdir(parents=True)
    (STATE / "spool" / "0.json").write_text('{"stage": "cut o')
    with stage_run("after", {}):
        pass
    (stored,) = runs_of(tracked, "after")
    assert stored.info.status == "FINISHED" and told("after")["run_id"] == stored.info.run_id
    assert [path.name for path in spooled()] == ["0.json.unreadable"]
    assert "0.json" in capfd.readouterr().err


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
    assert input_digest(Path("reports/index.html"), locked) == "bbb"  # no file there: what the lock says
    assert input_digest(Path("data/raw/demo"), locked) == "ccc.dir"
    assert input_digest(Path("artifacts/faces2"), locked) == "unknown"
    Path("artifacts/new").mkdir(parents=True)
    assert input_digest(Path("artifacts/new"), locked) == "unknown"
    Path("artifacts/faces").mkdir()
    for path in (Path("file"), Path("artifacts/faces/one.parquet")):  # its own, and not that of the folder around it
        path.write_text("input")
        assert input_digest(path, locked) == "a43c1b0aa53a0c908810c06ab1ff3967"


def test_without_locks_nothing_is_known(workspace):
    assert locked_outs() == {}
    Path("dvc.lock").write_text("")
    assert locked_outs() == {}


@pytest.mark.slow
def test_the_lock_that_dvc_writes_for_the_demo_is_understood(workspace):
    """demo/dvc.yaml works from the root: what DVC itself writes into its lock must be found."""
    Path("dvc.yaml").unlink()
    Path("demo").mkdir()
    stage = {"wdir": "..", "cmd": "mkdir -p data/raw/demo && echo x > data/raw/demo/a", "outs": ["data/raw/demo"]}
    Path("demo/dvc.yaml").write_text(yaml.safe_dump({"stages": {"synthesize": stage}}))
    for arguments in (["init", "-q", "--no-scm"], ["repro", "-q", "demo/dvc.yaml:synthesize"]):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True)
    digest = input_digest(Path("data/raw/demo"), locked_outs())
    assert len(digest) == 36 and digest.endswith(".dir")


def test_flatten():
    assert flatten({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": None}) == {"a.b.c": "1", "a.d": "[1, 2]", "e": "None"}


# --- delivered once, whatever happens --------------------------------------------------------------------------------


def spool(record: dict[str, Any]) -> Path:
    path = STATE / "spool" / f"{record['spool_id']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    return path


def a_record(stage: str) -> dict[str, Any]:
    data = Record(stage, {}, []).data
    return data | {"status": "FINISHED", "metrics": [["loss", 1.0, data["started_ms"], 0]]}


@pytest.mark.slow
def test_a_deleted_experiment_is_told_with_its_mend(tracked):
    place = Delivery().experiment()
    tracked.delete_experiment(place)
    with pytest.raises(
        MienError, match=rf"^MLflow's experiment \w+ is deleted; `mlflow experiments restore -x {place}`$"
    ):
        Delivery().experiment()
    tracked.restore_experiment(place)
    assert Delivery().experiment() == place


def test_three_deliveries_at_once_give_one_run_each(tracked):
    """Three processes find the same spool: who comes second leaves it to the first, or finds the runs there."""
    records = [a_record("one") for _ in range(3)]
    for record in records:
        spool(record)
    script = "from pipeline.run.delivery import *; deliver_spool(Delivery())"
    processes = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    delivery = Delivery()
    deliver_spool(delivery)
    found = runs_of(tracked, "one")
    ids = [run.data.tags["mien.spool_id"] for run in found]
    assert set(ids) >= {record["spool_id"] for record in records} and len(ids) == len(set(ids))
    assert not list((STATE / "spool").glob("*.json"))
    for record in records:  # a spool that comes back, from a backup or a copy, gives no second run
        spool(record)
    deliver_spool(delivery)
    assert len(runs_of(tracked, "one")) == len(found)


@pytest.mark.slow
def test_a_run_that_was_half_told_is_told_anew(tracked):
    record = a_record("two")
    delivery = Delivery()
    half = delivery.open(record)  # and the server goes away
    whole = delivery.whole(record)
    found = {run.info.run_id: run for run in runs_of(tracked, "two")}
    assert half not in found and found[whole].data.metrics == {"loss": 1.0}


@pytest.mark.slow
def test_the_run_of_a_killed_stage_is_ended_by_the_next(tracked):
    script = "import os; from pipeline.run.delivery import *; from pipeline.run.tracking import Record; "
    script += "Delivery().open(Record('many', {}, []).data); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 9
    (killed,) = [run for run in runs_of(tracked, "many") if run.info.status == "RUNNING"]
    with stage_run("many", {}):
        pass
    assert tracked.get_run(killed.info.run_id).info.status == "KILLED"
    assert [run for run in runs_of(tracked, "many") if run.info.status == "RUNNING"] == []


@pytest.mark.slow
@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"spool_id": 1}', "\udcff"])
def test_a_spool_file_of_another_shape_is_put_aside(tracked, text, capfd):
    (STATE / "spool").mkdir(parents=True)
    (STATE / "spool" / "0.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert deliver_spool(Delivery()) == 0
    assert [path.name for path in spooled()] == ["0.json.unreadable"]
    assert capfd.readouterr().err.count("put aside") == 1


@pytest.mark.slow
def test_a_database_that_cannot_be_opened_costs_seconds(tracked, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "a folder where the database should be"
    folder.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}")
    started = time.monotonic()
    with stage_run("late", {}):
        pass
    assert time.monotonic() - started < 30
    assert capfd.readouterr().err.count("warning: MLflow run not delivered yet (unable to open database file)") == 1
    assert told("late")["run_id"] is None


@pytest.mark.slow
def test_an_artifact_root_that_cannot_be_written_leaves_no_run_open(tracked, monkeypatch, capfd):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("the artifact root is not ours")

    monkeypatch.setattr(MlflowClient, "log_artifact", refuse)
    with stage_run("next", {}) as run:
        run.log({"loss": 2.0})
    assert "artifacts of next were not attached: the artifact root is not ours" in capfd.readouterr().err
    newest = tracked.get_run(told("next")["run_id"])
    assert newest.info.status == "FINISHED" and newest.data.metrics["loss"] == 2.0


def test_an_unwritable_state_folder_costs_a_warning(workspace, nowhere, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{nowhere}")
    Path(".mien").mkdir()
    Path(".mien/spool").write_text("a file where the folder should be")
    with stage_run("away", {}):
        pass
    err = capfd.readouterr().err
    assert "the run of away is not recorded" in err and "Traceback" not in err
    assert run_file("away").is_file()
