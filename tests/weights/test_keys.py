"""Out of nests and prefixes."""

import torch

from pipeline.weights.keys import tables

ONE = {"w": torch.ones(1)}


def test_averaged_weights_and_teachers_come_first():
    stored = {
        "student": ONE,
        "model": ONE,
        "optimizer": {"state": ONE},
        "teacher": ONE,
        "state_dict_ema": ONE,
        "epoch": 1,
    }
    nests = [table.nest for table in tables(stored)]
    assert nests == [("state_dict_ema",), ("teacher",), ("model",), ("student",), ("optimizer", "state")]


def test_prefixes_come_off_one_by_one_and_leave_the_others_out():
    tensors = {"module.encoder.w": torch.ones(1), "module.head.w": torch.ones(2), "loss": torch.ones(3)}
    found = {table.prefixes: set(table.tensors) for table in tables(tensors)}
    assert found == {(): set(tensors), ("module.",): {"encoder.w", "head.w"}, ("module.", "encoder."): {"w"}}


def test_a_checkpoint_without_end_ends():
    stored: dict = {}
    for _ in range(9):
        stored = {"model": stored, "w": torch.ones(1)}
    assert max(len(table.nest) for table in tables(stored)) == 4
