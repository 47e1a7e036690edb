"""The bench's workspace is one that the stages read, and its comparison sees what differs."""

import json
import math
from pathlib import Path

import pytest

from bench.million import MEMBERS, furthest, make_workspace
from pipeline.core.params import read_section
from pipeline.ensemble.fit import Ensemble, Timeline, fit_track
from pipeline.ensemble.members import read_members, validation_labels


def test_the_largest_difference_is_found():
    one = {"a": [1.0, {"b": 2.0}], "c": "x"}
    assert furthest(one, json.loads(json.dumps(one))) == 0
    assert furthest(one, {"a": [1.0, {"b": 2.5}], "c": "x"}) == 0.5
    for other in ({"a": [1.0], "c": "x"}, {"a": one["a"], "c": "y"}, {"a": one["a"]}):
        assert furthest(one, other) == math.inf


@pytest.mark.parametrize("track", MEMBERS)
def test_members_are_worth_fitting_and_beyond_one_another(tmp_path: Path, monkeypatch, track):
    make_workspace(tmp_path, 600)
    monkeypatch.chdir(tmp_path)
    settings = read_section("ensemble", Ensemble)
    table, members, _ = read_members(track, settings.trainings_of(track), "validation")
    assert len(members) == MEMBERS[track] and len(table) == 600
    assert len(set(table["base_video"].to_pylist())) < len(set(table["video"].to_pylist())) == 12
    fitted = fit_track(track, Timeline.of(table, track), members, validation_labels(track), settings)
    assert max(weight for how in fitted.values() for weight in how.weights) < 1  # a mix, not one member
