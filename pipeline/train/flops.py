"""What a training makes of its device: floating-point operations a second, and their share of the device's peak."""

import contextlib
import copy
from typing import cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.across import alone
from models.system import Batch, Trainee
from pipeline.backbones.device import device

# Dense bfloat16 (V100, T4: float16) peaks from the vendor's data sheets, without sparsity, by a part of the device's
# name; the first that fits counts.
PEAKS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "A10G": 70e12,
    "A10": 125e12,
    "L4": 121e12,
    "V100": 125e12,
    "T4": 65e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}


def step_flops(module: Trainee, batch: Batch) -> int | None:
    """Operations of the passes forward and backward of this batch, counted on a copy; None where memory is short.

    Multiplications and additions of matrix products, convolutions and attention, as torch counts them. The module, its
    buffers and the streams of draws stay as they are.
    """
    devices = [torch.cuda.current_device()] if device().type == "cuda" else []
    autocast = torch.autocast(device().type, torch.bfloat16, enabled=device().type == "cuda")
    counter = FlopCounterMode(display=False)
    with contextlib.suppress(torch.OutOfMemoryError), alone(), torch.random.fork_rng(devices), autocast, counter:
        for parts in plain_copy(module).steps(batch):
            torch.stack(list(parts.values())).sum().backward()
        return cast(int, counter.get_total_flops())
    return None


def plain_copy(module: Trainee) -> Trainee:
    """A copy whose losses are its own, not the compiled ones of `module`, and that computes nothing twice."""
    copied = copy.deepcopy(module)
    vars(copied).pop("losses", None)
    for network in copied.modules():
        if hasattr(network, "set_grad_checkpointing"):
            network.set_grad_checkpointing(False)  # type: ignore[operator]
    return copied


def peak_flops() -> float | None:
    """Operations a second that the device's vendor promises; None where it is not known, as for any CPU."""
    if device().type != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def achieved(flops: int, seconds: float, devices: int) -> tuple[dict[str, float], str]:
    """Metrics and a phrase of `flops` operations that `devices` made in `seconds`."""
    rate = flops / seconds
    metrics = {"gflops_a_second": rate / 1e9}
    told = f"{rate / 1e9:,.3g} GFLOP/s" if rate < 1e11 else f"{rate / 1e9:,.0f} GFLOP/s"
    if peak := peak_flops():
        metrics["model_flops_utilisation"] = rate / (peak * devices)
        told += f", {rate / (peak * devices):.1%} of the peak"
    return metrics, told
