"""The ablation: what is compared is there, runs are kept, and a system that loses to a control fails the bench."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import ablate, arms
from bench.arms import ARMS, COMPARISONS, CONTROLS, TEMPORAL, TRAINED, WHOLE, Measured, changed
from pipeline.abaw.tracks import TRAINED_TRACKS
from pipeline.settings import load_params


def test_every_arm_of_a_claim_is_measured_and_judged_alike():
    every = ARMS | CONTROLS
    for _, metric, one, other in COMPARISONS:
        assert every[one[0]].track == every[other[0]].track
        assert metric == every[one[0]].track or every[one[0]].track == "mtl"
    assert {arm.start for arm in ARMS.values()} <= {None, *ARMS}
    for arm in ARMS.values():
        changed(load_params(), arm, 3)  # names of settings that there are


def test_the_four_arms_of_two_ideas_are_there():
    cotex = {
        (bool(arm.changes.get("mask_ratio", 1)), bool(arm.changes.get("consistency_weight", 1)))
        for arm in ARMS.values()
        if arm.system == "cotex" and arm.updates == 2
    }
    assert len(cotex) == 4
    pairs = {frozenset([one, other]) for _, _, one, other in COMPARISONS}
    feedback = {(name, which) for name in ("feedback", "feedback, none fed back") for which in (WHOLE, TEMPORAL)}
    assert feedback == {answer for pair in pairs for answer in pair if answer[0].startswith("feedback")}


def test_a_budget_stretches_every_count_of_steps_whatever_the_faces_ask():
    def training(name: str) -> Any:
        settings: Any = changed(load_params(), ARMS[name], 0).systems["cotex"]
        return settings.train

    once, half, twice = (training(f"cotex{more}") for more in ("", f", {arms.HALF}", f", {arms.TWICE}"))
    for count in ("steps", "warmup_steps"):
        values = [getattr(train.optimise, count) for train in (half, once, twice)]
        assert values[1] * 2 == values[2] and values[1] // 2 == values[0]
    assert twice.evaluate_every_steps == 2 * once.evaluate_every_steps
    assert once.optimise.passes and not half.optimise.passes and not twice.optimise.passes


def test_an_arm_has_the_updates_of_the_demos_line():
    lines = load_params().graph.trainings
    plain = {f"{line.system}, {line.track.upper()}": line for line in lines.values()}
    assert plain["vit, VA"].updates == 2
    assert {ARMS[name].updates for name in plain.keys() & ARMS.keys()} == {2, 4}
    assert all(ARMS[name].updates == 2 * line.updates for name, line in plain.items() if name in ARMS)


def test_every_training_of_the_demo_stands_beside_every_control():
    graph = load_params().graph
    trained = {(ARMS[name].system, ARMS[name].track) for name, _ in TRAINED}
    assert {(line.system, line.track) for line in graph.trainings.values()} <= trained
    assert ("feedback", TEMPORAL) in TRAINED and set(graph.feedback) == {"expr"}
    assert {(arm.control, arm.pretrained, arm.track) for arm in CONTROLS.values()} == {
        (control, pretrained, track)
        for control, pretrained in (("frozen", False), ("frozen", True), ("constant", False), ("chance", False))
        for track in TRAINED_TRACKS
    }


LABELS = {"expression": np.repeat(np.arange(6), 4)}
HALF = {"expression": np.where(np.arange(24) % 2, 0, LABELS["expression"])}


@pytest.fixture
def results(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ablate.Results]:
    """Two seeds of some runs, measured at once: `right` are right everywhere, all others in half of the rows."""

    def measured(right: set[str], names: list[str]) -> ablate.Results:
        monkeypatch.setattr(
            ablate, "measure", lambda arms, name, *_: Measured(0.5, {WHOLE: [LABELS if name in right else HALF]})
        )
        runs = {(name, seed): Path(f"{name} {seed}.json") for name in names for seed in (0, 1)}
        for (name, seed), path in runs.items():
            ablate.run(name, seed, path)
        return ablate.Results(runs, [0, 1])

    monkeypatch.setattr(ablate, "truth", lambda track: LABELS)
    monkeypatch.setattr(ablate, "read_parquet", lambda path: None)
    monkeypatch.setattr(ablate, "recordings", lambda table, track: np.tile(np.arange(4), 6))
    return measured


RANDOM = "frozen random encoder, LSD"


def test_a_system_that_loses_to_a_control_fails_the_bench_by_name(results, capsys):
    names = ["dan", "vit", RANDOM]
    rows = list(ablate.against_controls(results({RANDOM, "vit"}, names), names))
    assert [(row["with_name"], row["without_name"], row["loses"]) for row in rows] == [
        ("dan", RANDOM, True),
        ("vit", RANDOM, False),
    ]
    assert ablate.verdict(rows) == 1 and capsys.readouterr().err.startswith(f"dan loses to {RANDOM}: -0.")
    rows = list(ablate.against_controls(results({"dan", "vit"}, names), names))
    assert ablate.verdict(rows) == 0 and capsys.readouterr().err == ""


def test_scores_over_updates_have_their_controls_beside_them(results):
    controls = [RANDOM, "frozen MAE, LSD"]
    names = [f"dan, {arms.HALF}", "dan", f"dan, {arms.TWICE}", *controls]
    found = results({f"dan, {arms.TWICE}", RANDOM}, names)
    (curve,) = ablate.over_updates(found, names)
    steps = ablate.steps_of("dan")
    low = found.mean_score("dan")
    assert curve["updates"] == [steps // 2, steps, steps * 2] and curve["scores"] == [low, low, 1.0]
    assert curve["controls"] == {"frozen random encoder": 1.0, "frozen MAE": low} and low < 0.7
    assert not list(ablate.over_updates(found, names[:-1]))


def test_an_idea_is_told_with_both_arms_and_its_interval(results, monkeypatch):
    monkeypatch.setattr(ablate, "COMPARISONS", [row for row in COMPARISONS if row[0] == "MAE pretraining"])
    names = ["vit", "vit, random start"]
    (row,) = ablate.comparisons(results({"vit"}, names), names)
    assert row["idea"] == "MAE pretraining" and row["with_scores"] == [1, 1] and row["difference"] > 0.3
    assert row["low"] < row["difference"] < row["high"]


def test_rows_of_some_arms_take_their_places_and_the_others_stay(results):
    former = list(ablate.against_controls(results({"dan"}, ["dan", "vit", RANDOM]), ["dan", "vit", RANDOM]))
    mine = list(ablate.against_controls(results({RANDOM}, ["dan", RANDOM]), ["dan", RANDOM]))
    curve = {"name": "dan", "track": "lsd", "scores": [0.5]}
    merged = ablate.among_kept({"controls": mine, "over_updates": [curve]}, {"controls": former})
    assert merged == {"controls": [*mine, former[1]], "over_updates": [curve]} and mine[0]["loses"]


def test_a_kept_run_is_read_as_it_was_and_not_measured_again(results, monkeypatch):
    found = results({"dan"}, ["dan"])
    kept = found.runs["dan", 0]
    assert np.array_equal(kept["answers"][WHOLE][0]["expression"], LABELS["expression"]) and kept["validation"] == 0.5
    monkeypatch.setattr(ablate, "run", None)
    ablate.measure_all({("dan", 0): Path("dan 0.json")}, jobs=1)


def test_what_decides_a_run_is_in_its_key(workspace):
    params = load_params()

    def key(name: str, seed: int = 0, inputs: str = "faces") -> str:
        return ablate.key(name, seed, changed(params, (ARMS | CONTROLS)[name], seed), inputs)

    every = [key(name, seed) for name in (*ARMS, *CONTROLS) for seed in (0, 1)]
    assert len(set(every)) == len(every) and key("vit", inputs="others") != key("vit") == key("vit")
