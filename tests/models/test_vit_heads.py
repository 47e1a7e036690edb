"""The heads on a ViT."""

import pytest
import torch

from tests.models.parts import pictures
from tests.models.small_vit import build_heads, build_mae, labelled, untouched


def test_gradients_reach_every_parameter_of_the_heads():
    system = build_heads()
    sum(system.losses(labelled(8)).values(), torch.zeros(())).backward()
    assert untouched(system) == []


def test_pseudo_labels_weigh_less():
    system, batch = build_heads(aus=False, va=False).eval(), labelled(4)
    batch["pseudo"] = torch.tensor([False, False, True, True])
    each = -system(batch["images"])["expression"].log_softmax(-1)[torch.arange(4), batch["expression"]]
    expected = (each[:2].sum() + 0.5 * each[2:].sum()) / 3
    assert system.losses(batch)["expression"].item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "tasks"),
    [
        ({"aus": False, "va": False, "expressions": 6}, {"expression": 6}),
        ({"expressions": 0, "va": False}, {"aus": 12}),
        ({"expressions": 0, "aus": False}, {"va": 2}),
        ({}, {"expression": 8, "aus": 12, "va": 2}),
    ],
)
def test_predictions_have_their_shapes_and_ranges(settings, tasks):
    system = build_heads(**settings).eval()
    scores = system.predict({"images": pictures(5)})
    assert {task: tuple(values.shape) for task, values in scores.items()} == {t: (5, n) for t, n in tasks.items()}
    assert set(system.losses(labelled(4))) == set(tasks)
    if "expression" in scores:
        torch.testing.assert_close(scores["expression"].sum(dim=1), torch.ones(5))
        assert (scores["expression"] > 0).all()
    if "aus" in scores:
        assert ((scores["aus"] > 0) & (scores["aus"] < 1)).all()
    if "va" in scores:
        assert (scores["va"].abs() < 1).all()


def test_heads_learn_a_batch_by_heart():
    system, batch = build_heads(), labelled(8)
    optimizer = torch.optim.AdamW(system.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        parts = system.losses(batch)
        optimizer.zero_grad()
        sum(parts.values(), torch.zeros(())).backward()
        optimizer.step()
        losses.append({task: value.item() for task, value in parts.items()})
    for task in ("expression", "aus", "va"):
        assert losses[-1][task] < 0.3 * losses[0][task], task


def test_tokens_and_positions_are_not_decayed():
    system, tokens = build_heads(), {f"backbone.network.encoder.{name}" for name in ("cls_token", "pos_embed")}
    assert tokens <= system.no_weight_decay() and tokens <= {n for n, _ in system.named_parameters()}
    mae = build_mae()
    assert mae.no_weight_decay() == {"encoder.cls_token", "mask_token"} <= {n for n, _ in mae.named_parameters()}
