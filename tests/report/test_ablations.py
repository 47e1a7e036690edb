"""What the report takes of the ablation."""

import json

from pipeline.core.paths import ABLATIONS
from pipeline.report.content import read_ablations


def test_scores_over_updates_are_drawn_beside_the_level_of_their_controls(workspace):
    ABLATIONS.parent.mkdir(parents=True)
    curve = {"name": "dan", "track": "lsd", "updates": [100, 200, 400], "scores": [0.4, 0.5, 0.6]}
    found = {"comparisons": [], "over_updates": [curve | {"controls": {"frozen MAE": 0.55}}]}
    ABLATIONS.write_text(json.dumps(found))
    ((title, drawn),) = read_ablations()["over_updates"]
    assert title == "dan" and drawn.lstrip().startswith("<svg")
    for word in ("frozen MAE", "LSD, hidden test score", "updates", "400"):
        assert f">{word}</text>" in drawn


def test_an_ablation_of_before_has_no_curves(workspace):
    ABLATIONS.parent.mkdir(parents=True)
    ABLATIONS.write_text(json.dumps({"comparisons": []}))
    assert read_ablations() == {"ablations": [], "controls": [], "over_updates": []}
