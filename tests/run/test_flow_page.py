"""What Prefect's page shows: scores with ways on, and nothing outside a flow run."""

import pytest
from prefect.states import Completed

from pipeline.core.files import atomic_write_text, write_json
from pipeline.core.paths import ENSEMBLE, RUNS, SUBMISSIONS
from pipeline.run import flow_page
from pipeline.run.environment import TITLE
from pipeline.run.flow_page import ABOVE, Page, mlflow_page, scores_text, stage_rows, title
from pipeline.run.tracking import FLOW_PAGE, run_tags


def test_scores_lead_to_runs_and_submissions(workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////somewhere/mlflow.db")
    assert scores_text() == ""
    write_json(ENSEMBLE / "va/metrics.json", {"score": 0.4567, "interval_95": [0.4, 0.51]})
    write_json(RUNS / "submit@va/run.json", {"run_id": "abc"})
    atomic_write_text(SUBMISSIONS / "va/predictions.txt", "")
    row = "| va | 0.457 | 0.400 to 0.510 |  | submissions/va/predictions.txt"
    assert f"{row} [submit@va](http://127.0.0.1:5000/#/runs/abc) |" in scores_text()
    assert "retraining" not in scores_text()
    monkeypatch.setenv(ABOVE, "http://127.0.0.1:4200/runs/flow-run/1")
    assert scores_text().endswith("This is the graph of a [retraining](http://127.0.0.1:4200/runs/flow-run/1).")


def test_a_servers_address_is_shown_without_its_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://bob:hunter2@mlflow.example.org/")
    assert mlflow_page("models/mien-va") == "https://mlflow.example.org/#/models/mien-va"


def test_damaged_records_cost_nothing(workspace):
    atomic_write_text(RUNS / "one/run.json", "{")
    (row,) = stage_rows({"one": Completed(message="reproduced")})
    assert row == {"stage": "one", "state": "Completed", "seconds": "", "message": "reproduced", "MLflow run": ""}


def test_outside_a_flow_run_nothing_is_sent(monkeypatch):
    monkeypatch.setattr(flow_page, "create_progress_artifact", lambda *_: pytest.fail("sent"))
    monkeypatch.setattr(flow_page, "create_table_artifact", lambda *_: pytest.fail("sent"))
    page = Page(2)
    page.advance("one")
    page.close({})


def test_a_server_that_does_not_take_it_is_a_warning_once(monkeypatch, capsys):
    def away(*_: object) -> None:
        raise ConnectionError("no route to https://bob:hunter2@host/api")

    monkeypatch.setattr(flow_page.flow_run, "get_id", lambda: "1", raising=False)
    monkeypatch.setattr(flow_page, "create_progress_artifact", away)
    page = Page(2)
    page.advance("one")
    page.close({})
    told = capsys.readouterr().err
    assert told.count("warning: Prefect's page does not show all of this run") == 1 and "hunter2" not in told


def test_names_and_ways_back(workspace, monkeypatch):
    assert title(3, 20) == "repro: 3 of 20 stages stale"
    monkeypatch.setenv(TITLE, "retrain")
    assert title(3, 20) == "retrain: 3 of 20 stages stale"
    monkeypatch.setenv(FLOW_PAGE, "http://127.0.0.1:4200/runs/flow-run/1")
    note = run_tags("ingest")["mlflow.note.content"]
    assert note == "A stage of [Prefect's flow run](http://127.0.0.1:4200/runs/flow-run/1)."
