"""Budgets follow the data: passes where there is more of them, one factor for every count of steps."""

import pytest

from pipeline.settings import Params
from pipeline.systems import dtm, feedback
from pipeline.train.budget import steps_asked, stretched, stretched_training
from pipeline.train.data import training_rows
from pipeline.train.optimiser import Optimise


def optimise(tiny: Params, **changes: object) -> Optimise:
    return tiny.pretrain_mae.optimise.model_copy(update=changes)


@pytest.mark.parametrize(
    ("changes", "rows", "steps"),
    [
        ({"steps": 240, "batch": 64, "passes": 0.0}, 10**6, 240),  # no passes: as params say
        ({"steps": 240, "batch": 64, "passes": 4.0}, 3_000, 240),  # few data: at least that many
        ({"steps": 240, "batch": 64, "passes": 4.0}, 64_001, 4_001),  # a part of a batch is a batch
        ({"steps": 240, "batch": 64, "passes": 4.0, "accumulate": 2}, 64_000, 2_000),
        ({"steps": 240, "batch": 64, "passes": 4.0, "most_steps": 3_000}, 64_000, 3_000),
        ({"steps": 240, "batch": 64, "passes": 4.0, "most_steps": 100}, 64_000, 240),
    ],
)
def test_updates_of_a_training(tiny, changes, rows, steps):
    assert steps_asked(optimise(tiny, **({"accumulate": 1, "most_steps": 0} | changes)), rows) == steps


def test_every_count_of_steps_keeps_its_share(tiny):
    given = tiny.systems["dtm"]
    assert isinstance(given, dtm.Settings)
    train = given.train.model_copy(update={"optimise": optimise(tiny, steps=240, batch=8, passes=1.0, warmup_steps=16)})
    given = given.model_copy(update={"train": train, "epoch_steps": 30, "supervised_steps": 120})
    longer = stretched(given, train.optimise, 8 * 2_400)
    assert longer.train.optimise.steps == 2_400 and longer.train.optimise.warmup_steps == 160
    assert (longer.epoch_steps, longer.supervised_steps) == (300, 1_200)
    assert longer.train.evaluate_every_steps == 10 * given.train.evaluate_every_steps
    assert (longer.unlabelled_batch, longer.train.optimise.batch) == (given.unlabelled_batch, 8)
    assert stretched(given, train.optimise, 100) == given


@pytest.mark.parametrize(
    ("rows", "updates", "steps"), [(100, 1.0, 240), (100, 2.0, 480), (100, 0.5, 120), (4_800, 2.0, 1_200)]
)
def test_a_line_may_ask_for_more_or_fewer_updates(tiny, rows, updates, steps):
    given = tiny.systems["vit"]
    train = given.train.model_copy(update={"optimise": optimise(tiny, steps=240, batch=8, passes=1.0, warmup_steps=16)})
    made = stretched_training(given.model_copy(update={"train": train}), rows, updates)
    assert made.train.optimise.steps == steps
    assert made.train.optimise.warmup_steps == 16 * steps // 240
    assert made.train.evaluate_every_steps == train.evaluate_every_steps * steps // 240


@pytest.mark.parametrize("rows", [7, 1_001, 123_457])
def test_phases_still_fit_whatever_the_factor(tiny, rows):
    pair = tiny.systems["feedback"]
    assert isinstance(pair, feedback.Settings)
    of = optimise(tiny, steps=241, batch=3, passes=1.7)
    spatial = pair.spatial.model_copy(
        update={
            "head_start_steps": 120,
            "labelled_steps": 121,
            "train": pair.spatial.train.model_copy(update={"optimise": of}),
        }
    )
    longer = stretched(spatial, of, rows)
    assert feedback.Spatial.model_validate(longer.model_dump()) == longer


def test_rows_are_those_that_train_and_have_a_label(mini):
    assert training_rows("au") == 8 + 9 - 1  # one is marked as invalid
