"""What a training says of itself: its score beside the baselines, what it did without, crops that are too small."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.jobs import recipe
from pipeline.core.errors import MienError
from pipeline.settings import Params
from pipeline.systems import mini_xception
from pipeline.train.data import TrackData
from pipeline.train.fit import judged_metrics, verdict, with_balance
from pipeline.train.frames import tell_enlarged


def test_a_system_that_has_learnt_nothing_says_so(mini: Path, tiny: Params):
    made = recipe("vit", "va", tiny)
    made.without = ("a pool",)
    truth = made.data.validation_labels["va"]
    nothing = judged_metrics(made, {"va": np.zeros((len(truth), 2), np.float32)})
    assert nothing["leaves_baselines"] is False and nothing["without"] == ["a pool"]
    assert "warning: no better than these" in verdict(nothing) and verdict(nothing).endswith("\nwithout a pool")
    made.without = ()
    perfect = judged_metrics(made, {"va": truth.astype(np.float32)})
    assert perfect["leaves_baselines"] is True and "without" not in perfect
    assert verdict(perfect).startswith("validation 0.") and "warning" not in verdict(perfect)


@pytest.mark.parametrize(("pixels", "told"), [(112, False), (224, True)])
def test_crops_that_are_enlarged_are_named(mini: Path, capsys, pixels, told):
    tell_enlarged(TrackData("va", pixels, 0.5))
    said = "warning: the crops of aff-wild2 have 112 pixels and the network sees 224" in capsys.readouterr().out
    assert said is told


def test_a_line_of_the_graph_has_a_balance_of_its_own(tiny: Params):
    vit: Any = tiny.systems["vit"]
    assert with_balance(vit, None, "x") is vit
    own: Any = with_balance(vit, 0.25, "x")
    assert own.train.balance == 0.25 != vit.train.balance and own.train.optimise == vit.train.optimise
    with pytest.raises(MienError, match=r"graph.trainings.x: balance: nothing of this system is trained"):
        with_balance(mini_xception.Settings(weights="x.safetensors"), 0.25, "graph.trainings.x")
