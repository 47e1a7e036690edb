"""The dynamic threshold module: when it sees the pool, and thresholds once an epoch."""

import copy
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.jobs import recipe
from models.dtm import Dtm
from models.system import Batch
from pipeline.abaw.tracks import TRACKS
from pipeline.core.paths import FACES
from pipeline.systems.dtm import at_most_of_each, labelled_probabilities
from pipeline.train.data import TrackData
from tests.mini import batch_of, changed, levels


def test_dtm_sees_the_pool_after_its_supervised_steps(mini, tiny):
    made = recipe("dtm", "expr", tiny)
    assert [("unlabelled" in batch_of(made, step=step)) for step in range(4)] == [False, False, True, True]
    assert "strong" not in made.prepare(batch_of(made, step=1))
    late = made.prepare(batch_of(made, step=2))
    assert "unlabelled" not in late and late["strong"].shape == (8, 3, 32, 32)
    never = recipe("dtm", "expr", changed(tiny, "dtm", unlabelled_weight=0.0))
    assert "unlabelled" not in batch_of(never, step=5)


def test_without_a_pool_on_its_line_dtm_is_supervised_and_says_so(mini, tiny):
    made = recipe("dtm", "expr", tiny, [FACES / "aff-wild2"])
    batch = made.prepare(batch_of(made, step=5))
    assert "strong" not in batch and isinstance(made.module, Dtm)
    made.module.step += 5
    assert set(made.module.losses(batch)) == {"expression"}
    assert made.without == ("an unlabelled pool: trained on labelled faces alone",)
    assert recipe("dtm", "expr", tiny).without == ()


class Levels:
    """Stands for a system: its score is the crop's level, and it keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[int] = []

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        found = levels(batch["images"])
        self.shown += found
        return {"expression": torch.tensor(found)[:, None].float()}


@pytest.mark.parametrize("batch", [4, 15, 100])
def test_labelled_probabilities_see_every_labelled_face_once(mini, batch):
    system, data = Levels(), TrackData("expr", 32, 0.5)
    found = labelled_probabilities(cast(Any, system), data, np.arange(15), batch)
    expected = [n for n in range(17) if n not in (2, 4)]  # neither the frame without a face nor the one without a label
    assert system.shown == expected and found[:, 0].tolist() == expected
    assert data.labels["expression"].tolist() == [n % 8 for n in expected]


def test_thresholds_are_measured_on_a_few_faces_of_each_class():
    labels = np.array([0, 1, 1, 1, 0, 2, 1, 1])
    assert at_most_of_each(labels, 9).tolist() == list(range(8))  # all, and nothing is drawn
    torch.manual_seed(0)
    drawn = [at_most_of_each(labels, 2) for _ in range(30)]
    assert all(labels[rows].tolist().count(1) == 2 and {0, 4, 5} < set(rows.tolist()) for rows in drawn)
    assert all((np.diff(rows) > 0).all() for rows in drawn) and len({tuple(rows) for rows in drawn}) > 3
    torch.manual_seed(0)
    assert np.array_equal(at_most_of_each(labels, 2), drawn[0])


def test_thresholds_follow_the_averaged_model_once_an_epoch(mini, tiny):
    made = recipe("dtm", "expr", tiny)
    module, averaged = made.module, copy.deepcopy(made.module)
    assert isinstance(module, Dtm) and isinstance(averaged, Dtm) and made.epoch_steps == 2

    def predict(batch: Batch) -> dict[str, Tensor]:
        """0.95 for the true class of even classes, and for the next one else."""
        truth = torch.tensor([number % 8 for number in levels(batch["images"])])
        scores = torch.full((len(truth), 8), 0.05 / 7)
        return {"expression": scores.scatter(1, (truth + truth % 2)[:, None] % 8, 0.95)}

    averaged.predict = predict  # type: ignore[method-assign]
    assert made.after_epoch is not None
    row = made.after_epoch(module, averaged)
    expected = {n: 0.9 * 0.8 + 0.1 * 0.95 if c % 2 == 0 else 0.8 for c, n in enumerate(TRACKS["expr"].classes)}
    assert row == {f"threshold_{name}": pytest.approx(value) for name, value in expected.items()}
    assert torch.equal(module.threshold.tau, averaged.threshold.tau)
