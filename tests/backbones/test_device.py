"""Threads of torch."""

import os
import subprocess
import sys

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


@pytest.mark.parametrize(("asked", "threads"), [(None, 1), ("2", 2)])
def test_a_stage_sums_on_one_thread_unless_told_otherwise(root, asked, threads):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"OMP_NUM_THREADS": asked} if asked else {}
    told = "import stages.finetune, torch; print(torch.get_num_threads())"
    run = subprocess.run([sys.executable, "-c", told], cwd=root, env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == str(threads), run.stderr
