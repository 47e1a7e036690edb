"""The table over budgets of pretraining."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bench import mae_curve
from bench.mae_curve import rows
from pipeline.core.parquet import write_parquet
from pipeline.settings import Params
from pipeline.tables.pretraining import PRETRAINING
from tests.mini import LSD_SPLITS


def point(updates: int, seed: int, frozen: float, tuned: float) -> dict:
    readouts = {"frozen, lsd": frozen, "tuned, lsd": tuned}
    return {"updates": updates, "seed": seed} | {
        name: {"validation": score, "hidden": score / 2} for name, score in readouts.items()
    }


def test_a_budget_has_a_row_for_each_readout_with_the_mean_over_seeds():
    table = rows([point(240, 0, 0.4, 0.6), point(0, 0, 0.2, 0.3), point(240, 1, 0.6, 0.6), point(0, 1, 0.2, 0.5)])
    assert [(row["updates"], row["readout"]) for row in table] == [
        (0, "frozen, lsd"),
        (0, "tuned, lsd"),
        (240, "frozen, lsd"),
        (240, "tuned, lsd"),
    ]
    assert table[2]["validation"] == [0.4, 0.6] and table[2]["validation_mean"] == 0.5
    assert table[1]["hidden"] == [0.15, 0.25] and table[1]["hidden_mean"] == 0.2


def test_a_budget_is_measured_frozen_and_tuned_and_then_kept(mini: Path, tiny: Params, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mae_curve, "load_params", lambda: tiny)
    monkeypatch.setattr(mae_curve, "FROZEN", ("lsd",))
    monkeypatch.setattr(mae_curve, "_told", lambda track, data, judged, test: {"validation": 0.5, "hidden": 0.25})
    write_parquet(PRETRAINING, pa.table({"dataset": ["lsd"], "video": [next(iter(LSD_SPLITS["train"]))]}))
    found = mae_curve.point(2, 3, "inputs")
    assert found["updates"] == 2 and found["seed"] == 3 and found["tuned, lsd"]["hidden"] == 0.25
    assert 0 <= found["tuned, lsd"]["validation"] <= 1
    (encoder,) = mae_curve.STORE.glob("*/encoder.safetensors")
    longer = mae_curve.pretrained(tiny, 4, mini / "longer")
    assert any(not np.array_equal(longer[name], kept) for name, kept in mae_curve.load_file(encoder).items())
    monkeypatch.setattr(mae_curve, "pretrained", lambda *_: pytest.fail("measured again"))
    assert mae_curve.point(2, 3, "inputs") == found
