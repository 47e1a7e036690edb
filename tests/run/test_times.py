"""What is told beside the report: times, runs, and the scores of before."""

import json
from pathlib import Path

from pipeline.core.files import write_json
from pipeline.core.paths import ENSEMBLE
from pipeline.run import times


def test_scores_of_before_are_those_before_the_last_change(workspace):
    def seen(**scores: float) -> dict[str, float]:
        for track, score in scores.items():
            write_json(ENSEMBLE / track / "metrics.json", {"score": score})
        return times.former_scores()

    assert seen(expr=0.4, au=0.5) == {}
    assert seen(expr=0.4, au=0.5) == {}  # the same again: nothing has changed
    assert seen(expr=0.45) == {"expr": 0.4}
    assert seen(au=0.6) == {"expr": 0.4, "au": 0.5}
    assert seen(expr=0.45, au=0.6) == {"expr": 0.4, "au": 0.5}
    assert seen(expr=0.3) == {"expr": 0.45, "au": 0.5}


def test_each_stage_leads_to_its_run(workspace, monkeypatch, capsys):
    run = {"stage": "finetune@x", "seconds": 2.0, "peak_memory_bytes": 3e6, "workers": 0, "largest_child_bytes": 0}
    runs = [run | {"run_id": "abc"}, run | {"stage": "report", "run_id": None}]
    monkeypatch.setattr(times, "read_runs", lambda: runs)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example.org/")
    times.publish_timings(Path("reports/index.html"))
    line = Path("reports/timings.js").read_text().splitlines()[0]
    shown = json.loads(line.removeprefix("window.mienTimings = ").removesuffix(";"))
    assert [one["page"] for one in shown] == ["https://mlflow.example.org/#/runs/abc", None]
    assert "secret" not in line and "finetune@x" in capsys.readouterr().out
