"""What a run over the graph tells of its time."""

import json
import re
from pathlib import Path

import pytest

from pipeline.core.files import write_json
from pipeline.run import pace
from pipeline.run.pace import OVERHEAD_SECONDS, Way, expected_seconds, in_words

GRAPH = {"one": [], "two": ["one"], "three": ["one"]}


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (89, "89 s"), (100, "2 min"), (5340, "89 min"), (7500, "2 h 5 min")]
)
def test_in_words(seconds, words):
    assert in_words(seconds) == words


def test_seconds_of_the_last_run_here_else_the_demo_s(workspace, monkeypatch):
    Path("demo").mkdir()
    pace.REFERENCE.write_text(json.dumps({"probe_seconds": 2.0, "stages": {"one": 10.0, "two": 30.0, "gone": 1.0}}))
    monkeypatch.setattr(pace, "probe", lambda: 4.0)  # a machine half as fast
    write_json(Path("artifacts/runs/two/run.json"), {"seconds": 7.0})
    assert expected_seconds(GRAPH) == {"one": 20.0, "two": 7.0 + OVERHEAD_SECONDS}
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("root: data/raw/demo", "root: data/raw/mine"))
    assert expected_seconds(GRAPH) == {"two": 7.0 + OVERHEAD_SECONDS}


def test_lines_say_what_ran_how_long_and_what_is_left(workspace, capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    with Way(GRAPH, {"one": 50.0, "two": 100.0, "three": 100.0}, 2) as way:
        way.begin("one")
        now = 100.0  # twice what was expected: so will the others
        way.end("one", ran=True)
        way.begin("two")
        way.begin("three")
        way.end("three", ran=False)
        now = 400.0
        way.end("two", ran=True)
    assert capsys.readouterr().out.splitlines() == [
        "3 stages, up to 2 side by side: about 2 min here",
        "[1/3] one: 2 min; about 3 min left",
        "[3/3] two: 5 min",
    ]


def test_what_a_run_took_is_known_to_the_next(workspace, monkeypatch):
    now = 0.0
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    with Way(GRAPH, {}, 1) as way:
        for number, stage in enumerate(GRAPH):
            way.begin(stage)
            now += 10.0
            way.end(stage, ran=number < 2)  # what was skipped tells nothing
    assert expected_seconds(GRAPH) == {"one": 10.0, "two": 10.0}
    pace.TOOK.write_text("{")
    assert expected_seconds(GRAPH) == {}


def test_what_is_not_known_is_said(workspace, capsys):
    with Way(GRAPH, {}, 1) as way:
        way.begin("one")
        way.end("one", ran=True)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "3 stages: how long they take is not known yet; `mien plan` measures it"
    assert re.fullmatch(r"\[1/3\] one: 0 s; time left not known", second)
