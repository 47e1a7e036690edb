"""Losses against values worked out by hand."""

import math

import numpy as np
import pytest
import torch

from models.losses import au_loss, au_sum_loss, concordance, expression_loss, jensen_shannon, va_loss
from pipeline.abaw.metrics import ccc


def test_jensen_shannon_is_averaged_over_batch_and_classes():
    first, second = torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    # first row: each view is log 2 from the middle; second row: no difference; two rows of two classes
    assert jensen_shannon([first, second]).item() == pytest.approx(math.log(2) / 4, rel=1e-6)
    assert jensen_shannon([first, first, first]).item() == 0


def test_jensen_shannon_takes_logarithms_of_no_less_than_a_ten_thousandth():
    first, second = torch.tensor([[0.99984, 0.00016]]), torch.tensor([[1.0, 0.0]])
    middle = math.log((1 + 0.99984) / 2)  # and 0.00008, which counts as 0.0001
    views = [0.99984 * (math.log(0.99984) - middle) + 0.00016 * math.log(1.6), -middle]
    assert jensen_shannon([first, second]).item() == pytest.approx(sum(views) / 2 / 2, rel=2e-3)
    assert jensen_shannon([first, second], least=1e-3).item() != jensen_shannon([first, second]).item()


@pytest.mark.parametrize("views", [1, 2, 5])
def test_jensen_shannon_of_many_views(views):
    p = torch.randn(views, 7, 6).mul(4).softmax(-1).double()
    total = 0.0
    for view in range(views):
        for row in range(7):
            for c in range(6):
                own, mean = float(p[view, row, c]), float(p[:, row, c].sum()) / views
                total += own * (math.log(max(own, 1e-4)) - math.log(max(mean, 1e-4)))
    assert jensen_shannon(list(p)).item() == pytest.approx(total / views / 7 / 6, abs=1e-12)


def test_jensen_shannon_of_certain_views_has_a_gradient():
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    jensen_shannon([logits.softmax(-1), logits.flip(0).softmax(-1)]).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_au_sum_loss_by_hand():
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0], [7.0, -7.0]])
    labels = torch.tensor([[1, 0], [-1, 1], [-1, -1]])
    # summed over valid units, divided by all three frames
    plain = (math.log(2) + math.log(4) + math.log(2)) / 3
    assert au_sum_loss(logits, labels, torch.ones(2)).item() == pytest.approx(plain, rel=1e-6)
    heavier = (5 * math.log(2) + math.log(4) + 0.25 * math.log(2)) / 3  # inactive units have no weight
    assert au_sum_loss(logits, labels, torch.tensor([5.0, 0.25])).item() == pytest.approx(heavier, rel=1e-6)


def test_expression_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [5.0, 5.0]])
    labels, weights = torch.tensor([0, 1, -1]), torch.tensor([1.0, 0.5, 1.0])
    plain = (math.log(2) + 0.5 * math.log(4)) / 1.5
    assert expression_loss(logits, labels, weights).item() == pytest.approx(plain, abs=1e-6)
    second = 0.9 * math.log(4) + 0.1 * math.log(4 / 3)
    smoothed = (math.log(2) + 0.5 * second) / 1.5
    assert expression_loss(logits, labels, weights, smoothing=0.2).item() == pytest.approx(smoothed, abs=1e-6)


def test_au_loss_by_hand():
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    labels = torch.tensor([[1, 0], [-1, 1]])
    weights = torch.tensor([1.0, 0.5])
    plain = (math.log(2) + math.log(4) + 0.5 * math.log(2)) / 2.5
    assert au_loss(logits, labels, weights).item() == pytest.approx(plain, abs=1e-6)
    heavier = (3 * math.log(2) + math.log(4) + 0.5 * 2 * math.log(2)) / 2.5
    assert au_loss(logits, labels, weights, torch.tensor([3.0, 2.0])).item() == pytest.approx(heavier, abs=1e-6)


def test_concordance_is_the_official_one():
    generator = np.random.default_rng(0)
    for _ in range(5):
        x, y = generator.normal(0.2, 0.4, 50), generator.normal(0, 0.3, 50)
        y += generator.uniform(-1, 1) * x
        assert concordance(torch.tensor(x), torch.tensor(y)).item() == pytest.approx(ccc(x, y), abs=1e-9)
    line = torch.linspace(-1, 1, 9)
    assert concordance(line, line).item() == pytest.approx(1)
    assert concordance(line, -line).item() == pytest.approx(-1)
    assert concordance(torch.ones(4), torch.ones(4)).item() == 0
    assert concordance(line[:1], line[:1]).item() == 0


def test_concordance_of_bfloat16_is_summed_in_float32():
    """Answers close to their mean, as early in training: in bfloat16 the differences from it have lost their digits."""
    torch.manual_seed(0)
    labels = torch.rand(64) * 2 - 1
    answers = (0.6 + 0.02 * labels).bfloat16()
    found = concordance(answers, labels)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(ccc(answers.double().numpy(), labels.double().numpy()), rel=1e-4)


def test_va_loss_by_hand():
    x, y = torch.rand(30, 2), torch.rand(30, 2)
    labels = y.clone()
    labels[::3, 1] = -5
    kept = [i for i in range(30) if i % 3]
    expected = 2 - ccc(x[kept, 0].numpy(), y[kept, 0].numpy()) - ccc(x[kept, 1].numpy(), y[kept, 1].numpy())
    assert va_loss(x, labels).item() == pytest.approx(expected, abs=1e-5)
    assert va_loss(y, y).item() == pytest.approx(0, abs=1e-6)


CASES = {
    "expression": (lambda p, y: expression_loss(p, y, torch.ones(len(y)), 0.1), 8, torch.arange(6) % 8, -1),
    "aus": (lambda p, y: au_loss(p, y, torch.ones(len(y))), 12, torch.randint(0, 2, (6, 12)), -1),
    "va": (va_loss, 2, torch.linspace(-1, 1, 12).reshape(6, 2), -5),
}


@pytest.mark.parametrize("task", CASES)
def test_invalid_rows_contribute_nothing(task):
    loss, size, labels, invalid = CASES[task]
    labels = labels.clone()
    labels[[1, 4]] = invalid
    logits = torch.randn(6, size, requires_grad=True)
    first = loss(logits, labels)
    first.backward()
    assert logits.grad is not None
    rows = logits.grad.abs().sum(dim=1)
    assert (rows[[1, 4]] == 0).all() and (rows[[0, 2, 3, 5]] > 0).all()
    moved = logits.detach().clone()
    moved[[1, 4]] += 10
    assert loss(moved, labels).item() == first.item()
    moved[0] += torch.randn(size)
    assert loss(moved, labels).item() != first.item()


@pytest.mark.parametrize("task", CASES)
def test_a_batch_without_labels_costs_nothing(task):
    loss, size, labels, invalid = CASES[task]
    logits = torch.randn(6, size, requires_grad=True)
    value = loss(logits, torch.full_like(labels, invalid))
    value.backward()
    assert logits.grad is not None
    assert value.item() == 0 and not logits.grad.any()


def test_single_invalid_units_are_left_out():
    logits = torch.randn(3, 12, requires_grad=True)
    labels = torch.randint(0, 2, (3, 12))
    labels[1, 5] = -1
    au_loss(logits, labels, torch.ones(3)).backward()
    assert logits.grad is not None
    assert logits.grad[1, 5] == 0 and logits.grad.count_nonzero() == 35
