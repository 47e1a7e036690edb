"""Threads of torch."""

import pytest
import torch

from pipeline.backbones import device as device_module
from pipeline.backbones.device import limit_threads


@pytest.mark.parametrize(("cores", "variable", "threads"), [(1, None, 1), (64, None, 2), (1, "2", 2)])
def test_threads_are_bounded_by_the_cores_and_left_alone_where_they_are_set(monkeypatch, cores, variable, threads):
    """Never more than before: on a machine without a quota nothing changes, nor does a sum."""
    before = torch.get_num_threads()
    monkeypatch.setattr(device_module, "available_cores", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    try:
        torch.set_num_threads(2)
        limit_threads()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
