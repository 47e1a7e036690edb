"""RandAugment on a batch: torchvision's, image by image, is the reference."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import RandAugment

from models import rand_augment as module
from models.rand_augment import BINS, rand_augment
from tests.models.parts import pictures

REFERENCE = [RandAugment(1, magnitude=level, num_magnitude_bins=BINS) for level in range(BINS)]


def one_by_one(images: Tensor, operations: int) -> Tensor:
    levels = torch.randint(BINS, (len(images), operations)).tolist()
    changed = []
    for image, chosen in zip(images, levels, strict=True):
        for level in chosen:
            image = REFERENCE[level](image)
        changed.append(image)
    return torch.stack(changed)


def textures(count: int, pixels: int) -> Tensor:
    """Pictures, noise, and flat images, which some operations treat apart."""
    noise = torch.randint(256, (count // 2, 3, pixels, pixels), dtype=torch.uint8)
    flat = torch.randint(256, (4, 3, 1, 1), dtype=torch.uint8).expand(-1, -1, pixels, pixels)
    return torch.cat([pictures(count - len(noise) - 4, pixels), noise, flat])


@pytest.mark.parametrize(("pixels", "operations"), [(32, 1), (48, 2), (112, 2), (37, 3)])
def test_images_are_torchvisions(pixels, operations):
    images = textures(150, pixels)
    for seed in range(3):
        torch.manual_seed(seed)
        expected, after = one_by_one(images, operations), torch.rand(1)
        torch.manual_seed(seed)
        assert torch.equal(rand_augment(images, operations), expected)
        assert torch.equal(torch.rand(1), after)  # the same draws, so whatever comes next is the same too


@pytest.mark.parametrize("name", list(RandAugment._AUGMENTATION_SPACE))
def test_each_operation_at_each_magnitude(monkeypatch, name):
    """All bins and both signs of one operation in one batch."""
    images = textures(2 * BINS, 40)
    table, signed = module._magnitudes(40, 40)[name]
    sizes = table + ([-size for size in table] if signed else table)
    monkeypatch.setattr(module, "_draw", lambda *_: [[(name, size)] for size in sizes])
    reference = RandAugment(1)
    expected = [
        reference._apply_image_or_video_transform(image, name, size, interpolation="nearest", fill={})
        for image, size in zip(images, sizes, strict=True)
    ]
    found = rand_augment(images, 1)
    assert [i for i in range(len(images)) if not torch.equal(found[i], expected[i])] == []


def test_a_batch_is_not_a_loop(monkeypatch):
    """However many images, an operation runs once a turn."""
    calls = []

    def counted(name, change):
        def counting(images, chosen):
            calls.append(name)
            return change(images, chosen)

        return counting

    monkeypatch.setattr(module, "CHANGES", {name: counted(name, change) for name, change in module.CHANGES.items()})
    rand_augment(pictures(200, 16), 2)
    assert len(calls) == 2 * len(module.CHANGES)
