"""The face-recognition stem."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.face_resnet import IRStem, IRUnit

CHANNELS, UNITS = [64, 128, 256], [3, 4, 14]


def published_unit(number: int, widened: bool) -> set[str]:
    """Tensor names of one unit of the published IR-50: norm, convolution, PReLU, convolution, norm."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {f"res_layer.{place}.{part}" for place in (0, 4) for part in norm}
    names |= {f"res_layer.{place}.weight" for place in (1, 2, 3)}
    if widened:
        names |= {"shortcut_layer.0.weight"} | {f"shortcut_layer.1.{part}" for part in norm}
    return {f"body.{number}.{name}" for name in names}


def test_stem_is_the_first_twenty_one_units_of_ir_50():
    stem = IRStem(CHANNELS, UNITS)
    names = set(stem.state_dict())
    assert {name for name in names if not name.startswith("body.")} == {
        *(f"input_layer.{name}" for name in ("0.weight", "2.weight")),
        *(f"input_layer.1.{n}" for n in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    }
    # the first units of the stages of 128 and 256 channels are the only ones that widen
    bodies = [published_unit(number, number in (3, 7)) for number in range(21)]
    assert {name for name in names if name.startswith("body.")} == set().union(*bodies)
    total = 3 * 64 * 9 + 2 * 64 + 64
    for number in range(21):
        outputs = 64 if number < 3 else 128 if number < 7 else 256
        inputs = outputs // 2 if number in (3, 7) else outputs
        total += 2 * inputs + 9 * inputs * outputs + outputs + 9 * outputs**2 + 2 * outputs
        total += inputs * outputs + 2 * outputs if number in (3, 7) else 0
    assert sum(parameter.numel() for parameter in stem.parameters()) == total


def test_stem_gives_a_map_of_fourteen_cells_a_side():
    with torch.no_grad():
        assert IRStem(CHANNELS, UNITS).eval()(torch.randn(1, 3, 112, 112)).shape == (1, 256, 14, 14)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 4, 1), (4, 4, 2), (4, 8, 2)])
def test_stem_unit_is_the_plain_formulation(inputs, outputs, stride):
    unit: Any = IRUnit(inputs, outputs, stride).eval()
    for tensor in unit.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 0.9)

    def norm(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
        assert layer.running_mean is not None and layer.running_var is not None
        shape = (1, -1, 1, 1)
        x = (x - layer.running_mean.view(shape)) / (layer.running_var.view(shape) + layer.eps).sqrt()
        return x * layer.weight.view(shape) + layer.bias.view(shape)

    x = torch.randn(2, inputs, 6, 6)
    first, convolution, slopes, strided, last = unit.res_layer
    y = F.conv2d(norm(first, x), convolution.weight, padding=1)
    y = torch.where(y > 0, y, slopes.weight.view(1, -1, 1, 1) * y)
    y = norm(last, F.conv2d(y, strided.weight, stride=stride, padding=1))
    shortcut = x[:, :, ::stride, ::stride]
    if inputs != outputs:
        shortcut = norm(unit.shortcut_layer[1], F.conv2d(x, unit.shortcut_layer[0].weight, stride=stride))
    torch.testing.assert_close(unit(x), y + shortcut, atol=1e-4, rtol=1e-4)
