"""RandAugment's operations (Cubuk et al. 2020, arXiv 1909.13719) on a batch whose images each drew their own.

The draws and the results are torchvision's `RandAugment(1, magnitude, BINS)` applied image by image
(tests/models/test_rand_augment.py); here all images that drew the same operation go through it together, each with its
own magnitude.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import autocontrast, equalize, invert

BINS = 31
GREY = (0.2989, 0.587, 0.114)  # weights of red, green and blue in an image's grey


def rand_augment(images: Tensor, operations: int) -> Tensor:
    """`operations` random operations in a row on each image: uint8 (B, 3, H, W) to the same.

    Each has a magnitude of its own, uniform over the bins. Draws come from torch's global generator of the CPU.
    """
    drawn = _draw(len(images), operations, *images.shape[-2:])
    images = images.clone()
    for turn in range(operations):
        groups: dict[str, list[int]] = {}
        for number, chosen in enumerate(drawn):
            groups.setdefault(OPERATION_OF.get(chosen[turn][0], chosen[turn][0]), []).append(number)
        for name, members in groups.items():
            if change := CHANGES.get(name):
                rows = torch.tensor(members, device=images.device)
                images[rows] = change(images[rows], [drawn[number][turn] for number in members])
    return images


def _draw(images: int, operations: int, height: int, width: int) -> list[list[tuple[str, float]]]:
    """For each image its operations' names and magnitudes, drawn in torchvision's order."""
    levels = torch.randint(BINS, (images, operations)).tolist()
    magnitudes = _magnitudes(height, width)
    names = list(magnitudes)
    drawn: list[list[tuple[str, float]]] = []
    for chosen in levels:
        drawn.append([])
        for level in chosen:
            name = names[int(torch.randint(len(names), ()))]
            table, signed = magnitudes[name]
            turned = signed and bool(torch.rand(()) <= 0.5)
            drawn[-1].append((name, -table[level] if turned else table[level]))
    return drawn


def _magnitudes(height: int, width: int) -> dict[str, tuple[list[float], bool]]:
    """Each operation's magnitude in every bin, and whether it may turn its sign; in torchvision's order."""

    def grid(first: float, last: float) -> list[float]:
        return torch.linspace(first, last, BINS).tolist()

    none = [0.0] * BINS
    bits = (8 - torch.arange(BINS) / ((BINS - 1) / 4)).round().tolist()
    return {
        "Identity": (none, False),
        "ShearX": (grid(0.0, 0.3), True),
        "ShearY": (grid(0.0, 0.3), True),
        "TranslateX": (grid(0.0, 150.0 / 331.0 * width), True),
        "TranslateY": (grid(0.0, 150.0 / 331.0 * height), True),
        "Rotate": (grid(0.0, 30.0), True),
        "Brightness": (grid(0.0, 0.9), True),
        "Color": (grid(0.0, 0.9), True),
        "Contrast": (grid(0.0, 0.9), True),
        "Sharpness": (grid(0.0, 0.9), True),
        "Posterize": (bits, False),
        "Solarize": (grid(1.0, 0.0), False),
        "AutoContrast": (none, False),
        "Equalize": (none, False),
    }


# --- geometry: one warp for shears, shifts and rotations -------------------------------------------------------------


def _inverse_affine(name: str, magnitude: float, height: int, width: int) -> list[float]:
    """From output to input pixels around the image's centre, row by row (6,)."""
    angle = shear_x = shear_y = shift_x = shift_y = centre_x = centre_y = 0.0
    if name == "Rotate":
        angle = math.radians(-(magnitude % 360))
    elif name == "TranslateX":
        shift_x = float(int(magnitude))
    elif name == "TranslateY":
        shift_y = float(int(magnitude))
    else:  # around the corner
        slope = math.radians(math.degrees(math.atan(magnitude)))
        shear_x, shear_y = (slope, 0.0) if name == "ShearX" else (0.0, slope)
        centre_x, centre_y = -width * 0.5, -height * 0.5
    a = math.cos(angle - shear_y) / math.cos(shear_y)
    b = -math.cos(angle - shear_y) * math.tan(shear_x) / math.cos(shear_y) - math.sin(angle)
    c = math.sin(angle - shear_y) / math.cos(shear_y)
    d = -math.sin(angle - shear_y) * math.tan(shear_x) / math.cos(shear_y) + math.cos(angle)
    x, y = -centre_x - shift_x, -centre_y - shift_y
    return [d, -b, d * x - b * y + centre_x, -c, a, -c * x + a * y + centre_y]


def _warped(images: Tensor, chosen: list[tuple[str, float]]) -> Tensor:
    """Nearest pixels, zeros from outside."""
    height, width = images.shape[-2:]
    matrices = torch.tensor([_inverse_affine(name, size, height, width) for name, size in chosen])
    theta = matrices.view(-1, 2, 3).transpose(1, 2) / torch.tensor([0.5 * width, 0.5 * height])
    ys = torch.linspace((1.0 - height) * 0.5, (height - 1.0) * 0.5, height)
    xs = torch.linspace((1.0 - width) * 0.5, (width - 1.0) * 0.5, width)
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    base = torch.stack([x, y, torch.ones_like(x)], dim=-1).view(1, -1, 3).to(images.device)
    grid = base.expand(len(images), -1, -1).bmm(theta.to(images.device)).view(-1, height, width, 2)
    return F.grid_sample(images.float(), grid, mode="nearest", align_corners=False).round().byte()


# --- colour ----------------------------------------------------------------------------------------------------------


def _factors(chosen: list[tuple[str, float]], like: Tensor) -> Tensor:
    """1 + magnitude of each image (B, 1, 1, 1), float64."""
    return torch.tensor([1.0 + size for _, size in chosen], dtype=torch.float64, device=like.device).view(-1, 1, 1, 1)


def _mixed(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """images * factor + other * (1 - factor), rounded as by a fused multiply and add in float32."""
    first = images.float() * factor.float()
    return (first.double() + other.double() * (1.0 - factor).float().double()).float().clamp(0, 255)


def _grey(images: Tensor) -> Tensor:
    """Whole grey values (B, 1, H, W) of uint8 images."""
    red, green, blue = images.unbind(dim=1)
    mixed = red.mul(GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])
    return mixed.floor_().unsqueeze(1)


def _brightness(images: Tensor, chosen: list[tuple[str, float]]) -> Tensor:
    return (images.float() * _factors(chosen, images).float()).clamp(0, 255).byte()


def _colour(images: Tensor, chosen: list[tuple[str, float]]) -> Tensor:
    return _mixed(images, _grey(images), _factors(chosen, images)).byte()


def _contrast(images: Tensor, chosen: list[tuple[str, float]]) -> Tensor:
    mean = _grey(images).mean(dim=(1, 2, 3), keepdim=True)
    return _mixed(images, mean, _factors(chosen, images)).byte()


def _sharpness(images: Tensor, chosen: list[tuple[str, float]]) -> Tensor:
    """Away from, or towards, the image blurred by a kernel of 1/13 around 5/13; the border stays."""
    kernel = torch.full((3, 3), 1.0 / 13.0, device=images.device)
    kernel[1, 1] = 5.0 / 13.0
    changed = images.float()
    blurred = F.conv2d(changed, kernel.expand(3, 1, 3, 3), groups=3).round_()
    inner = changed[..., 1:-1, 1:-1]
    weight = (1.0 - _factors(chosen, images)).float().double()
    inner.copy_((inner.double() + (blurred - inner).double() * weight).float())
    return changed.clamp_(0, 255).byte()


def _posterised(images: Tensor, chosen: list[tuple[str, float]]) -> Tensor:
    masks = [256 - (1 << (8 - int(bits))) for _, bits in chosen]
    return images & torch.tensor(masks, dtype=torch.uint8, device=images.device).view(-1, 1, 1, 1)


def _solarised(images: Tensor, chosen: list[tuple[str, float]]) -> Tensor:
    bounds = torch.tensor([255.0 * size for _, size in chosen], device=images.device).view(-1, 1, 1, 1)
    return torch.where(images >= bounds, invert(images), images)


OPERATION_OF = dict.fromkeys(("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"), "Warp")
CHANGES: dict[str, Callable[[Tensor, list[tuple[str, float]]], Tensor]] = {
    "Warp": _warped,
    "Brightness": _brightness,
    "Color": _colour,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterised,
    "Solarize": _solarised,
    "AutoContrast": lambda images, _: autocontrast(images),
    "Equalize": lambda images, _: equalize(images),
}
