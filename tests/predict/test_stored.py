"""Crops of a long video: the same bytes from memory and from a file, and memory that does not grow with them."""

import contextlib
import resource

import numpy as np
import pytest
import torch

from pipeline.predict import stored
from pipeline.predict.stored import StoredCrops, StoredFeatures


@pytest.mark.parametrize("bound", [100, 2**20])
def test_what_was_put_in_comes_out(bound, monkeypatch):
    monkeypatch.setattr(stored, "IN_MEMORY_BYTES", bound)
    generator = np.random.default_rng(0)
    jpegs = [generator.bytes(int(size)) for size in generator.integers(0, 90, 40)]
    with contextlib.closing(StoredCrops()) as crops:
        for jpeg in jpegs[:30]:
            crops.append(jpeg)
        assert crops[7] == jpegs[7]
        for jpeg in jpegs[30:]:
            crops.append(jpeg)
        assert (len(crops), crops[:], crops[3:40:5], crops[-1]) == (40, jpegs, jpegs[3:40:5], jpegs[-1])
        odd = crops.chosen([5, 1, 39])
        assert list(odd) == [jpegs[5], jpegs[1], jpegs[39]] and odd[1:] == [jpegs[1], jpegs[39]]
        with pytest.raises(IndexError):
            crops[40]


def test_an_hour_of_crops_is_not_held_in_memory():
    crop = bytes(5000)
    with contextlib.closing(StoredCrops()) as crops:
        for _ in range(2):
            crops.append(crop)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(100_000):
            crops.append(crop)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert grown < 3 * stored.IN_MEMORY_BYTES < 5000 * 100_000


@pytest.mark.parametrize("bound", [100, 2**20])
def test_features_are_read_by_frame_as_from_a_tensor(bound, monkeypatch):
    monkeypatch.setattr(stored, "IN_MEMORY_BYTES", bound)
    places = np.array([0, 1, 4, 5, 9])
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float16)
    whole = torch.zeros(10, 3)
    whole[torch.from_numpy(places)] = torch.from_numpy(rows).float()
    with contextlib.closing(StoredFeatures(places, torch.device("cpu"))) as features:
        features.append(rows[:2])
        features.append(rows[2:])
        assert len(features) == 10 and features.present.nonzero()[:, 0].tolist() == places.tolist()
        for windows in ([[0, 1, 2], [1, 2, 3]], [[2, 3]], [[7, 8, 9], [4, 5, 6]]):
            asked = torch.tensor(windows)
            assert torch.equal(features[asked], whole[asked])
