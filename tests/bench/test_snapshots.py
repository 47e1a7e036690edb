"""The mean of a training's last evaluations beside its best step."""

from pathlib import Path

import numpy as np
import pytest

from bench import arms
from bench.arms import SNAPSHOTS, WHOLE, Arm, measure
from pipeline.settings import Params


def test_snapshots_are_the_networks_at_the_last_evaluations(mini: Path, tiny: Params, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arms, "decided", lambda data, judged, test: test)  # scores instead of decisions

    def test_scores(snapshots: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        train = {
            "optimise": tiny.systems["vit"].model_dump()["train"]["optimise"] | {"steps": steps, "warmup_steps": 1}
        }
        tree = tiny.model_dump()
        tree["systems"]["vit"]["train"] |= train | {"evaluate_every_steps": 2}
        arm = {"x": Arm("vit", "expr", snapshots=snapshots)}
        answers = measure(arm, "x", Params.model_validate(tree), mini / "kept").answers
        return answers[SNAPSHOTS][0]["expression"], answers[WHOLE][0]["expression"]

    (last, _), (two, best), (three, again) = (test_scores(count, 6) for count in (1, 2, 3))
    assert last.shape == two.shape == best.shape and np.array_equal(best, again, equal_nan=True)
    assert not np.allclose(last, two, equal_nan=True) and not np.allclose(two, three, equal_nan=True)
    before_last = 2 * two - last  # of a mean of two
    first = 3 * three - 2 * two
    assert any(np.allclose(best, one, atol=1e-5, equal_nan=True) for one in (first, before_last, last))
