"""Views of a batch: targets move with their images, weak and strong ones of unlabelled faces."""

from typing import Any

import pytest
import torch

from pipeline.settings import load_params
from pipeline.train.views import Augment, Strong, augmenter, views
from tests.landmarks import LANDMARKS, SWAPPED, dots, places

NO_CHANGE = Augment(**dict.fromkeys(Augment.model_fields, 0.0))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_views_of_unlabelled_faces():
    images = torch.randint(0, 256, (6, 3, 40, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    torch.manual_seed(0)
    change = NO_CHANGE.model_copy(update={"shift_fraction": 0.1, "noise": 0.1})
    found = views(images, change, Strong(operations=2, cutout_side_fraction=0.5), 32)
    assert set(found) == {"weak", "other_weak", "strong"}
    assert all(view.shape == (6, 3, 32, 32) and view.dtype == torch.uint8 for view in found.values())
    assert not torch.equal(found["weak"], found["other_weak"])
    still = views(images, NO_CHANGE, Strong(operations=0, cutout_side_fraction=0.0), 40)
    for name, view in still.items():
        same = [torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in zip(view, images, strict=True)]
        assert all(same), name
    strong = views(images, NO_CHANGE, Strong(operations=3, cutout_side_fraction=0.5), 40)["strong"]
    assert all(not torch.equal(a, b) and not torch.equal(a, b.flip(-1)) for a, b in zip(strong, images, strict=True))


def test_targets_move_with_their_images():
    still = dict.fromkeys(Augment.model_fields, 0.0)
    spots = dots(64).repeat(8, 1, 1, 1)
    batch = {
        "images": spots,
        "landmarks": LANDMARKS.flatten().expand(40, -1),
        "pose": torch.tensor([[0.3, -0.2]]).expand(40, -1),
    }
    changed = augmenter(Augment(**still | {"shift_fraction": 0.1}), 64)(batch)
    turned = changed["pose"][:, 0] < 0
    assert 8 < turned.sum() < 32
    torch.testing.assert_close(changed["pose"].abs(), batch["pose"].abs())
    assert (changed["pose"][:, 1] < 0).all()
    found, moved = places(changed["images"].float()), changed["landmarks"].unflatten(1, (5, 2))
    number = torch.arange(40) % 5
    mark = torch.where(turned, torch.tensor(SWAPPED)[number], number)
    torch.testing.assert_close(found, moved[torch.arange(40), mark], atol=0.01, rtol=0)


def test_augmenter_changes_the_images_alone(root):
    settings: Any = load_params(root / "params.yaml").systems["vit"]
    change = settings.train.augment
    batch = {"images": torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8), "expression": torch.arange(3)}
    changed = augmenter(change, 16)(batch)
    assert changed["images"].shape == (3, 3, 16, 16) and changed["images"].dtype == torch.uint8
    assert changed["expression"] is batch["expression"] and batch["images"].shape[-1] == 20
