"""The temporal encoder as a system of every track with recordings."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.jobs import job_of
from pipeline.core.errors import MienError
from pipeline.core.parquet import write_parquet
from pipeline.core.paths import FEATURES
from pipeline.faces.crops import Crops
from pipeline.systems import temporal
from pipeline.train.fit import fit, seed_weights
from tests.mini import feature_table

TASKS = {"expr": {"expression": 8}, "au": {"aus": 12}, "va": {"va": 2}, "mtl": {"expression": 8, "aus": 12, "va": 2}}


def write_features(name: str, dataset: str, width: int) -> Path:
    faces = Crops(dataset).table
    values = np.random.default_rng(width).normal(size=(len(faces), width))
    order = np.random.default_rng(1).permutation(len(faces))
    write_parquet(FEATURES / name / dataset / "all.parquet", feature_table(faces.take(order), values[order]))
    return FEATURES / name / dataset


def made_for(tiny, track, folders, seed=0):
    seed_weights(tiny.finetune.model_copy(update={"seed": seed}))
    return temporal.recipe(tiny.systems["temporal"], job_of(track, tiny, folders))


@pytest.mark.parametrize("track", TASKS)
def test_every_track_with_recordings_is_trained_and_scored(mini, tiny, tmp_path, track):
    dataset = temporal.TRACKS[track].dataset
    folders = [write_features("one", dataset, 5), write_features("two", dataset, 3)]
    made = made_for(tiny, track, folders)
    batch = made.batches(np.random.default_rng(0), 0)
    window = tiny.systems["temporal"].window_frames
    assert batch["features"].shape[1:] == (window, 8) and set(batch) == {"features", "present", *TASKS[track]}
    module, loop = fit("t", made, tiny.finetune, tmp_path, lambda metrics, step: None)
    losses = [row["loss"] for row in loop.history if "loss" in row]
    assert np.isfinite(losses).all() and losses[-1] != losses[0]
    for axis in (made.data.validation, made.data.test):
        scores = made.scores(module, axis)
        assert {task: values.shape for task, values in scores.items()} == {
            task: (len(axis), size) for task, size in TASKS[track].items()
        }
        for values in scores.values():
            assert (np.isnan(values).any(axis=1) == ~axis.present).all()  # each frame with a face has an answer


def test_a_killed_training_goes_on_to_the_same_bytes(mini, tiny, tmp_path):
    folders = [write_features("one", "aff-wild2", 5)]

    def trained(folder, log):
        return fit("t", made_for(tiny, "va", folders), tiny.finetune, tmp_path / folder, log)[0].state_dict()

    def kill(metrics, step):
        if step >= 4:
            raise KeyboardInterrupt

    whole = trained("whole", lambda metrics, step: None)
    with pytest.raises(KeyboardInterrupt):
        trained("killed", kill)
    again = trained("killed", lambda metrics, step: None)
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_pictures_have_no_temporal_model(mini, tiny):
    with pytest.raises(MienError, match="temporal looks at recordings; lsd has pictures alone"):
        made_for(tiny, "lsd", [FEATURES / "mae/lsd"])


def test_a_line_without_features_says_what_to_add(mini, tiny):
    with pytest.raises(MienError, match="add artifacts/features/BACKBONE/aff-wild2 to needs"):
        made_for(tiny, "va", [Path("artifacts/mae")])
