"""A loop on the CPU, whatever the machine has."""

import pytest
import torch


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """In single precision: on a GPU the loop computes in bfloat16."""
    monkeypatch.setattr("pipeline.train.loop.device", lambda: torch.device("cpu"))
