"""Masked CoTEX against plain formulations."""

from typing import Any

import pytest
import torch

from models.backbone import grid_of, vit_backbone
from models.cotex import CoTex, View
from models.losses import jensen_shannon
from models.masking import put_back, read_visible
from models.vit import normalise, read_tokens
from tests.models.parts import VIT, enliven, pictures, plain_cross_entropy


def build_view(readout_grid: int = 0) -> Any:
    """A view; a raster of cells is standardised."""
    backbone = vit_backbone(VIT, readout_grid)
    if readout_grid:
        backbone.standardise()
    return View(backbone, 6)


def build_cotex(views: int = 2, readout_grid: int = 0, **changes: float) -> Any:
    """A `CoTex`; what its views are made of is not said in types."""
    parts = [build_view(readout_grid) for _ in range(views)]
    system: Any = CoTex(parts, **{"mask_ratio": 0.0, "consistency_weight": 100.0} | changes)
    for view in system.views:
        enliven(view.head)
    return system


@pytest.mark.parametrize(("ratio", "kept"), [(0.0, 16), (0.5, 8), (0.75, 4), (0.7, 4), (0.9, 1)])
def test_cotex_blocks_see_the_class_token_and_the_kept_patches(ratio, kept):
    system, shapes = build_cotex(mask_ratio=ratio), []
    for view in system.views:
        view.encoder.blocks[0].register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    system.losses({"images": pictures(5), "expression": torch.arange(5)})
    system.predict({"images": pictures(3)})
    assert shapes == [(5, 1 + kept, 16)] * 2 + [(3, 17, 16)] * 2


def test_cotex_views_draw_masks_of_their_own():
    system, tokens = build_cotex(mask_ratio=0.75), []
    system.views[1].load_state_dict(system.views[0].state_dict())
    for view in system.views:
        view.encoder.blocks[0].register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0]))
    system.losses({"images": pictures(5), "expression": torch.arange(5)})
    first, second = (sorted(view[0, 1:, 0].tolist()) for view in tokens)
    assert first != second and torch.equal(tokens[0][:, 0], tokens[1][:, 0])


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_cotex_reads_the_class_token(ratio):
    system, seen = build_cotex(), []
    view = system.views[0].eval()
    view.encoder.norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = view(pictures(4), ratio)
    torch.testing.assert_close(logits, seen[0][:, 0] @ view.head.weight.T + view.head.bias)


def test_hidden_tokens_are_put_back_as_zeros():
    tokens, kept = torch.randn(2, 5, 3), torch.tensor([[6, 0, 15, 3], [1, 2, 14, 7]])
    full = put_back(tokens, kept, 16)
    expected = torch.zeros(2, 17, 3)
    for row in range(2):
        expected[row, 0] = tokens[row, 0]
        for number, place in enumerate(kept[row].tolist()):
            expected[row, 1 + place] = tokens[row, 1 + number]
    assert torch.equal(full, expected)


def test_a_cell_is_the_mean_of_its_visible_tokens_and_unknown_where_all_are_hidden():
    encoder, _ = grid_of(vit_backbone(VIT, 2))
    # places 0, 1, 4, 5 of the 4 x 4 raster are the upper left cell: two are seen, and one, 15, of the lower right
    tokens, kept = torch.randn(1, 4, 16), torch.tensor([[5, 15, 0]])
    cells, seen = read_visible(encoder, tokens, kept, 2)
    cells, seen = (x.unflatten(1, (16, 4))[0].T for x in (cells, seen))
    torch.testing.assert_close(cells[0], (tokens[0, 1] + tokens[0, 3]) / 2)
    torch.testing.assert_close(cells[3], tokens[0, 2])
    assert seen.all(dim=1).tolist() == seen.any(dim=1).tolist() == [True, False, False, True]
    every = torch.arange(16).flip(0)[None]
    whole, known = read_visible(encoder, torch.cat([tokens[:, :1], torch.ones(1, 16, 16)], 1), every, 2)
    assert known.all() and torch.equal(whole, torch.ones(1, 64))


def test_cotex_heads_read_standardised_cells_and_a_hidden_one_as_its_mean():
    view, read = build_view(readout_grid=2), []
    view.head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    view(pictures(8), 0.0)
    assert read[0].mean(dim=0).abs().max() < 1e-4 and (read[0].std(dim=0, correction=0) - 1).abs().max() < 1e-2
    view(pictures(8), 0.9)  # one patch of sixteen is seen: one cell of the four
    cells = read[1].unflatten(1, (16, 4)).transpose(1, 2)
    assert set((cells.abs().sum(dim=2) > 0).sum(dim=1).tolist()) <= {0, 1}  # none where no other face shows the cell
    assert cells.sum(dim=0).abs().max() < 1e-4


def test_cotex_reads_all_cells_at_prediction_under_running_moments():
    view, read, images = build_view(readout_grid=2), [], pictures(6)
    view(pictures(8), 0.5)
    view.eval().head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    view(images, 0.0)
    cells = read_tokens(view.encoder.forward_features(normalise(images)), 2)
    moments = view.standardised
    torch.testing.assert_close(read[0], (cells - moments.running_mean) / (moments.running_var + 1e-6).sqrt())
    torch.testing.assert_close(view(images[:1], 0.0), view(images, 0.0)[:1])  # whatever else is in the batch


def test_cotex_loss_and_prediction_by_hand():
    system, labels = build_cotex(views=3).eval(), torch.tensor([0, 5, -1, 2])
    images, kept = pictures(4), [0, 1, 3]
    logits = [view(images, 0.0) for view in system.views]
    parts = system.losses({"images": images, "expression": labels})
    entropy = sum((plain_cross_entropy(z[kept], labels[kept]).mean() for z in logits), torch.zeros(())) / 3
    assert parts["expression"].item() == pytest.approx(entropy.item(), rel=1e-5)
    divergence = 100 * jensen_shannon([z[kept].softmax(-1) for z in logits])
    assert parts["consistency"].item() == pytest.approx(divergence.item(), rel=1e-5) and divergence > 0.01
    summed = sum(logits).softmax(-1)
    torch.testing.assert_close(system.predict({"images": images})["expression"], summed)
    mean = torch.stack([z.softmax(-1) for z in logits]).mean(dim=0)
    assert not torch.allclose(summed, mean, atol=1e-2)


def test_cotex_without_consistency_or_labels_has_one_part():
    batch = {"images": pictures(2), "expression": torch.tensor([1, 2])}
    assert set(build_cotex(consistency_weight=0.0).losses(batch)) == {"expression"}
    assert set(build_cotex().losses(batch | {"expression": torch.tensor([-1, -1])})) == {"expression"}
