"""Levers over time and memory change no result beyond its last digits; what a training makes of its device is told."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.dan import Dan
from models.system import Trainee
from models.vit import build_vit
from pipeline.core.params import read_section, validated
from pipeline.train import flops
from pipeline.train.fit import Finetune
from pipeline.train.flops import achieved, peak_flops, step_flops
from pipeline.train.loop import train
from pipeline.train.mae import PretrainMae
from pipeline.train.speed import Speed, arranged, hasten
from tests.train.split import EVERY, STEPS, loop, network
from tests.train.toys import STEPS as STEPS_OF_A_TOY
from tests.train.toys import Killed, Line, Pair, draw, killed_at, training

pytestmark = pytest.mark.usefixtures("on_the_cpu")


def trained(name: str, folder: Path, **speed: bool) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    run = loop(name, folder, None, speed=Speed(**speed))
    return train(run).state_dict(), run.history


def assert_close(first: tuple[Any, Any], second: tuple[Any, Any]) -> None:
    for key, tensor in first[0].items():
        torch.testing.assert_close(second[0][key], tensor, rtol=1e-4, atol=1e-6)
    for one, other in zip(first[1], second[1], strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ["vit", "mae", "standardised cotex"])
def test_gradient_checkpointing_gives_the_same_bits(name, tmp_path, monkeypatch):
    """Blocks run again in the backward pass: their calls are counted, else the test could not fail."""
    plain = trained(name, tmp_path / "plain")
    calls = []
    original = type(build_vit(16, 4, 16, 2, 2).blocks[0]).forward
    block = type(build_vit(16, 4, 16, 2, 2).blocks[0])

    def counted(self: nn.Module, *given: Any, **named: Any) -> torch.Tensor:
        calls.append(1)
        return original(self, *given, **named)

    monkeypatch.setattr(block, "forward", counted)
    trained(name, tmp_path / "counted")
    without, calls[:] = len(calls), []
    again = trained(name, tmp_path / "again", gradient_checkpointing=True)
    assert len(calls) > 1.2 * without
    assert all(torch.equal(again[0][key], tensor) for key, tensor in plain[0].items()) and again[1] == plain[1]


@pytest.mark.parametrize("name", ["dan", "au_cvt"])
def test_channels_last_gives_the_same_losses(name, tmp_path):
    plain, last = trained(name, tmp_path / "a"), trained(name, tmp_path / "b", channels_last=True)
    assert_close(plain, last)


def test_channels_last_is_resumed_with_moments_that_lie_as_the_weights_do(tmp_path):
    """Files hold no layout, and AdamW's fused step walks weights and moments side by side."""
    adamw = EVERY.model_copy(update={"optimiser": "adamw"})
    changes: dict[str, Any] = {"speed": Speed(channels_last=True), "optimise": adamw, "evaluate": None}
    expected = train(loop("dan", tmp_path / "a", None, **changes)).state_dict()
    killed = loop("dan", tmp_path / "b", None, **changes)
    killed.batches = killed_at(STEPS - 1, killed.batches)
    with pytest.raises(Killed):
        train(killed)
    found = train(loop("dan", tmp_path / "b", None, **changes)).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.slow
def test_a_compiled_training_gives_the_same_losses(tmp_path, monkeypatch):
    made = []
    compile_ = torch.compile

    def seen(function: Any) -> Any:
        made.append(function)
        return compile_(function)

    monkeypatch.setattr(torch, "compile", seen)
    runs = [training(tmp_path / name, speed=Speed(compile=name == "compiled")) for name in ("plain", "compiled")]
    plain, compiled = ((train(run).state_dict(), run.history) for run in runs)
    assert len(made) == 1 and made[0].__name__ == "losses"
    assert_close(plain, compiled)


def test_what_cannot_be_hastened_is_said(capsys):
    hasten("toy", Pair(), Speed(compile=True, gradient_checkpointing=True))
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "toy: no gradient checkpointing: none of its networks is a transformer without batch norms",
        "toy: not compiled: it takes several optimiser steps on a batch",
    ]
    dan = network("dan")
    assert isinstance(dan, Dan) and any(isinstance(m, _BatchNorm) for m in dan.modules())
    hasten("dan", dan, Speed(gradient_checkpointing=True))
    assert "dan: no gradient checkpointing" in capsys.readouterr().out


def test_cudnn_looks_for_the_fastest_only_where_asked():
    try:
        hasten("toy", Line(), Speed(cudnn_benchmark=True))
        assert torch.backends.cudnn.benchmark
        hasten("toy", Line(), Speed())
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.backends.cudnn.benchmark = False


def test_pictures_alone_are_arranged():
    batch = {"images": torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "va": torch.zeros(2, 2)}
    assert arranged(batch, Speed()) is batch
    images = arranged(batch, Speed(channels_last=True))["images"]
    assert images.is_contiguous(memory_format=torch.channels_last) and images.shape == (2, 3, 4, 4)


def test_all_is_off_unless_params_say_otherwise(root):
    params = root / "params.yaml"
    assert not any(Speed().model_dump().values())
    assert read_section("pretrain_mae", PretrainMae, params).speed == Speed()
    tree = read_section("finetune", Finetune, params).model_dump()
    assert validated(Finetune, {name: tree[name] for name in tree if name != "speed"}).speed == Speed()
    assert validated(Finetune, tree | {"speed": {"compile": True}}).speed == Speed(compile=True)
    with pytest.raises(Exception, match=r"unknown key speed\.compiled"):
        validated(Finetune, tree | {"speed": {"compiled": True}})


# --- operations ------------------------------------------------------------------------------------------------------


class Product(Trainee):
    """Two matrix products, with a buffer and draws that counting must leave alone."""

    step: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16, bias=False), nn.Linear(16, 4, bias=False)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def losses(self, batch):
        self.step += 1
        return {"x": self.second(torch.dropout(self.first(batch["x"]), 0.5, True)).square().mean()}


def test_operations_are_those_of_the_products():
    module, batch = Product(), {"x": torch.randn(10, 8)}
    state = torch.get_rng_state()
    forward = 2 * 10 * 8 * 16 + 2 * 10 * 16 * 4
    # backward: both weights' gradients, and the second's input; the first has no input with a gradient
    assert step_flops(module, batch) == forward + forward + 2 * 10 * 16 * 4
    assert int(module.step) == 0 and all(p.grad is None for p in module.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_training_tells_what_it_makes_of_its_device(tmp_path, capsys):
    logged: dict[str, float] = {}
    train(training(tmp_path, log=lambda metrics, step: logged.update(metrics)))
    assert logged["gflops_a_second"] > 0 and "model_flops_utilisation" not in logged  # no CPU has a peak of ours
    assert " GFLOP/s\n" in capsys.readouterr().out
    train(training(tmp_path / "b", log=lambda metrics, step: logged.update(metrics), count_flops=False))
    assert "GFLOP/s" not in capsys.readouterr().out


class Phased(Product):
    """Its second product has a loss of its own after three steps."""

    def losses(self, batch):
        first = self.first(batch["x"])
        parts = {"x": first.square().mean()}
        if self.step >= 3:
            parts["y"] = self.second(first).square().mean()
        self.step += 1
        return parts


def test_the_operations_of_each_phase_are_counted(tmp_path, monkeypatch):
    """A system that starts on labelled faces alone costs more later."""
    told: list[int] = []

    def noted(flops: int, seconds: float, devices: int) -> tuple[dict[str, float], str]:
        told.append(flops)
        return {}, ""

    monkeypatch.setattr("pipeline.train.loop.achieved", noted)
    train(training(tmp_path, module=Phased, batches=lambda generator, step: {"x": torch.randn(10, 8)}))
    first, second = 2 * 10 * 8 * 16, 2 * 10 * 16 * 4
    assert told == [STEPS_OF_A_TOY * 2 * first + (STEPS_OF_A_TOY - 3) * 3 * second]


def test_the_share_of_the_peak_counts_every_device(monkeypatch):
    monkeypatch.setattr(flops, "device", lambda: torch.device("cuda"))
    for name, peak in {
        "NVIDIA H100 80GB HBM3": 989e12,
        "NVIDIA H100 PCIe": 756e12,
        "NVIDIA A100-SXM4-40GB": 312e12,
        "NVIDIA A10G": 70e12,
        "Tesla T4": 65e12,
        "NVIDIA L40S": 362e12,
        "Something else": None,
    }.items():
        monkeypatch.setattr("torch.cuda.get_device_name", lambda name=name: name)
        assert peak_flops() == peak
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "NVIDIA A100-SXM4-40GB")
    metrics, told = achieved(312 * 10**12, 2.0, 2)
    assert metrics == {"gflops_a_second": 156000.0, "model_flops_utilisation": 0.25}
    assert told == "156,000 GFLOP/s, 25.0% of the peak"


def test_a_resumed_training_tells_of_its_own_steps(tmp_path):
    told: list[dict[str, float]] = []
    train(training(tmp_path))
    train(training(tmp_path, batches=draw, log=lambda metrics, step: told.append(metrics)))
    assert not any("gflops_a_second" in row for row in told)  # it made none
