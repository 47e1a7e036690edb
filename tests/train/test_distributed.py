"""A training split over processes gives what one process gives, survives the death of one, or says why it is not split.

On the CPU, by gloo; `tests/train/split.py` is what the processes run.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from models.across import share_batch_norms, unshared_norms, whole
from models.standardise import Standardise
from pipeline.core.code import ROOT
from pipeline.core.errors import MienError
from pipeline.run.ranks import process_count
from pipeline.train.distributed import unfit
from pipeline.train.loop import train
from tests.train.split import LAST, NETWORKS, loop, network
from tests.train.toys import Line

DEATH = 2


def split(folder: Path, *death: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"MIEN_PROCESSES": "2", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment = {name: value for name, value in environment.items() if name != "MIEN_DEBUG"}
    command = [sys.executable, "-m", "tests.train.split", str(folder), *death]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A system trained by two processes, of which the second is killed."""
    folder = tmp_path_factory.mktemp("killed")
    return folder, split(folder, str(DEATH))


@pytest.fixture(scope="module")
def resumed(killed: tuple[Path, subprocess.CompletedProcess[str]]) -> tuple[Path, str]:
    """The run after that goes on with it, and trains all others."""
    folder, _ = killed
    run = split(folder)
    assert run.returncode == 0, run.stderr[-3000:]
    return folder, run.stdout


pytestmark = pytest.mark.slow


def test_a_killed_process_ends_the_stage_in_one_line(killed):
    folder, run = killed
    told = [line for line in run.stderr.splitlines() if " steps, " not in line]
    assert run.returncode == 1
    assert told == [
        "error: process 1 of the training's 2 was killed by signal 9; run again, it goes on from its last checkpoint "
        "(MIEN_PROCESSES=1: on one device)"
    ]
    assert not (folder / f"{LAST}.safetensors").exists()


def test_the_next_run_goes_on(resumed):
    lines = resumed[1].splitlines()
    assert any(f"{LAST}: resumed after step {step}" in lines for step in range(1, DEATH + 1))
    for name in NETWORKS:  # told once: rank 0 alone speaks
        assert lines.count(f"{name}: trained by 2 processes, each on 1/2 of every batch") == 1


@pytest.mark.parametrize("name", NETWORKS)
def test_two_processes_give_what_one_gives(resumed, tmp_path, name):
    """Masks that leave the ranks uneven numbers of labels, CCC, batch norms, hidden patches, feedback, thresholds."""
    folder, _ = resumed
    run = loop(name, tmp_path, None)
    start = {key: tensor.clone() for key, tensor in network(name).state_dict().items()}
    one, two = train(run).state_dict(), load_file(folder / f"{name}.safetensors")
    assert set(one) == set(two)
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, rtol=1e-4, atol=1e-6, msg=f"{key} is another")
    moved = max(float((one[key].float() - start[key].float()).abs().max()) for key in one)
    assert moved > 1e-3  # there was something to get wrong
    history = json.loads((folder / f"{name}.json").read_text())
    assert len(history) == len(run.history)
    for first, second in zip(run.history, history, strict=True):
        assert second == pytest.approx(first, rel=1e-4, abs=3e-6)


# --- what cannot be split --------------------------------------------------------------------------------------------


def test_a_training_that_cannot_be_split_says_why():
    batch = {"x": torch.zeros(6, 4), "weak": torch.zeros(9, 4)}
    assert unfit(Line(), {"x": batch["x"]}, 2) == ""
    assert unfit(Line(), batch, 2) == "9 rows of a batch do not divide by 2"
    module = Line()
    module.layer = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm3d(4))  # type: ignore[assignment]
    assert unfit(module, {"x": batch["x"]}, 2) == "BatchNorm3d takes its moments from a part of the batch"


def test_batch_norms_are_shared_under_their_names():
    module = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(Standardise(3), nn.BatchNorm1d(3)))
    names, parameters = list(module.state_dict()), list(module.parameters())
    assert unshared_norms(module) == []
    share_batch_norms(module)
    assert type(module[1][0]) is Standardise  # type: ignore[index]
    assert {type(module[0]).__name__, type(module[1][1]).__name__} == {"_SharedBatchNorm"}  # type: ignore[index]
    assert list(module.state_dict()) == names
    assert all(a is b for a, b in zip(module.parameters(), parameters, strict=True))
    images, plain = torch.randn(4, 3, 5, 5), nn.BatchNorm2d(3)
    assert torch.equal(module[0](images), plain(images))  # in one process: the same bits
    assert whole(images) is images


def test_processes_are_what_the_user_says(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("MIEN_PROCESSES", raising=False)
    assert process_count() == 1
    monkeypatch.setenv("MIEN_PROCESSES", "3")
    assert process_count() == 3
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(MienError, match="MIEN_PROCESSES is 3, and there are 2 GPUs"):
        process_count()
    monkeypatch.delenv("MIEN_PROCESSES")
    assert process_count() == 2
    monkeypatch.setenv("MIEN_PROCESSES", "no")
    with pytest.raises(MienError, match="MIEN_PROCESSES is 'no'; give a number of processes"):
        process_count()
