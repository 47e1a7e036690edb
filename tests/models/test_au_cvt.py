"""AU-CVT: which part of the map tells of which unit, its stages and its losses."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from models.au_cvt import REGIONS, AuBranch, AuCvt
from tests.models.parts import enliven, pictures, plain_cross_entropy

# first and past-the-last row and column of the part of the map that each AU is read from
TOP, BOTTOM, LEFT, RIGHT = (
    {14: (0, 7, 0, 14), 8: (0, 4, 0, 8)},
    {14: (6, 14, 0, 14), 8: (3, 8, 0, 8)},
    {14: (5, 12, 0, 6), 8: (2, 7, 0, 4)},
    {14: (5, 12, 8, 14), 8: (2, 7, 4, 8)},
)
AU6 = 3
OF_THE_TWELVE = {**dict.fromkeys((0, 1, 2, 4), TOP), **dict.fromkeys(range(5, 12), BOTTOM)}
UPPER, LOWER = {14: (0, 8, 0, 14), 8: (0, 5, 0, 8)}, BOTTOM
OF_OPENFACE = {**dict.fromkeys(range(7), UPPER), **dict.fromkeys(range(7, 16), LOWER)}


def field_of(branch: AuBranch, maps: Tensor, unit: int) -> tuple[int, int, int, int]:
    """The rectangle of cells that move a unit's logit; all cells in it must."""
    maps = maps.clone().requires_grad_()
    branch(maps)[0, unit].backward()
    assert maps.grad is not None
    moved = maps.grad[0].any(dim=0)
    rows, columns = (torch.nonzero(moved.any(dim=dim)).flatten().tolist() for dim in (1, 0))
    assert moved.sum() == len(rows) * len(columns)
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


@pytest.mark.parametrize("side", [14, 8])
@pytest.mark.parametrize(("regions", "fields"), [("abaw", OF_THE_TWELVE), ("openface", OF_OPENFACE)])
def test_each_unit_is_read_from_its_part_of_the_map(regions, fields, side):
    branch = AuBranch(REGIONS[regions], 8)
    maps = torch.randn(1, 8, side, side)
    assert branch(maps).shape == (1, len(fields) + (regions == "abaw"))
    for unit, field in fields.items():
        assert field_of(branch, maps, unit) == field[side], unit


@pytest.mark.parametrize("side", [14, 8])
def test_the_cheek_that_shows_more_tells_of_au6(side):
    branch, maps = AuBranch(REGIONS["abaw"], 8), torch.randn(5, 8, side, side)
    heads: Any = branch.heads
    logits = []
    for number, field in ((1, LEFT[side]), (2, RIGHT[side])):
        cells = maps[:, :, field[0] : field[1], field[2] : field[3]].mean(dim=(2, 3))
        normed = (cells - cells.mean(1, keepdim=True)) / (cells.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
        logits.append((normed @ heads[number].weight.T + heads[number].bias)[:, 0])
    torch.testing.assert_close(branch(maps)[:, AU6], torch.maximum(*logits))
    for number, fields in ((1, LEFT), (2, RIGHT)):
        heads[number].bias.data += 100 * number
        assert field_of(branch, maps[:1], AU6) == fields[side]


def build_au_cvt(**changes: Any) -> AuCvt:
    settings: dict[str, Any] = {"image_pixels": 32, "classes": 6, "channels": [4, 8], "units": [1, 1], "width": 16}
    settings |= {"heads": 2, "blocks_before": 2, "blocks_after": 1, "regions": "abaw", "au_weight": 0.5}
    return AuCvt(**settings | changes)


def test_units_are_read_between_the_two_stages():
    system, images = build_au_cvt().eval(), pictures(3, 32)
    expression, aus = system(images)
    enliven(system.stage_b)
    later, same = system(images)
    assert torch.equal(aus, same) and not torch.allclose(expression, later, atol=1e-3)
    enliven(system.stage_a)
    assert not torch.allclose(system(images)[1], aus, atol=1e-3)
    assert [len(stage) for stage in (system.stage_a, system.stage_b)] == [2, 1]


def test_the_map_keeps_its_rows_and_columns():
    system, images, seen = build_au_cvt(blocks_before=1), torch.zeros(1, 3, 32, 32, dtype=torch.uint8), []
    system.eval().au_branch.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    changed = images.clone()
    changed[:, :, 8:12, 20:24] = 255  # the cell in row 2, column 5
    system(torch.cat([images, changed]))
    difference = (seen[0][1] - seen[0][0]).norm(dim=0)
    row, column = divmod(int(difference.argmax()), 8)
    assert abs(row - 2) <= 1 and abs(column - 5) <= 1  # convolutions spread it


def test_au_cvt_loss_by_hand():
    images, labels = pictures(4, 32), torch.tensor([1, 5, -1, -1])
    aus = torch.randint(0, 2, (4, 12))
    aus[0], aus[3, 7] = -1, -1
    system = build_au_cvt(au_weight=0.25).eval()
    parts = system.losses({"images": images, "expression": labels, "aus": aus})
    expression, logits = system(images)
    entropy = plain_cross_entropy(expression[:2], labels[:2]).mean()
    assert parts["expression"].item() == pytest.approx(entropy.item(), rel=1e-5)
    each = [
        math.log(1 + math.exp(-z if active else z))
        for z, active in zip(logits[aus >= 0].tolist(), aus[aus >= 0].tolist(), strict=True)
    ]
    assert len(each) == 35 and parts["aus"].item() == pytest.approx(0.25 * sum(each) / 35, rel=1e-5)
    assert set(build_au_cvt(au_weight=0.0).losses({"images": images, "expression": labels})) == {"expression"}


def test_au_cvt_expression_is_the_mean_over_the_map():
    system, seen = build_au_cvt().eval(), []
    system.stage_b.register_forward_hook(lambda module, inputs, output: seen.append(output))
    expression, _ = system(pictures(3, 32))
    mean = seen[0].mean(dim=1)
    assert seen[0].shape == (3, 64, 16)
    normed = (mean - mean.mean(1, keepdim=True)) / (mean.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(expression, normed @ system.head.weight.T + system.head.bias, atol=1e-5, rtol=1e-4)
