"""mini-Xception as Keras keeps and computes it: names, axes and padding are Keras', numbers are random.

The computation is numpy's alone, in float64, from what Keras' documentation says of each layer.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Layers = dict[str, dict[str, np.ndarray]]
WIDTHS = (16, 32, 64, 128)


def keras_layers(classes: int = 7, first: int = 1, seed: int = 0) -> Layers:
    """Parameters by layer; Keras counts on from `first` where a session has made other networks before."""
    generator = np.random.default_rng(seed)
    layers: Layers = {}
    made: dict[str, int] = {}

    def name(kind: str) -> str:
        made[kind] = made.get(kind, first - 1) + 1
        return f"{kind}_{made[kind]}" if made[kind] else kind  # newer Keras leaves a first number out

    def kernel(*shape: int) -> np.ndarray:
        return generator.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape).astype(np.float32)

    def convolution(side: int, inputs: int, outputs: int) -> None:
        layers[name("conv2d")] = {"kernel": kernel(side, side, inputs, outputs)}
        norm(outputs)

    def separable(inputs: int, outputs: int) -> None:
        parts = {"depthwise_kernel": kernel(3, 3, inputs, 1), "pointwise_kernel": kernel(1, 1, inputs, outputs)}
        layers[name("separable_conv2d")] = parts
        norm(outputs)

    def norm(width: int) -> None:
        parts = {part: generator.normal(0, 0.3, width) for part in ("beta", "moving_mean")}
        parts |= {part: generator.uniform(0.5, 1.5, width) for part in ("gamma", "moving_variance")}
        layers[name("batch_normalization")] = {part: values.astype(np.float32) for part, values in parts.items()}

    convolution(3, 1, 8)
    convolution(3, 8, 8)
    for inputs, outputs in zip((8, *WIDTHS), WIDTHS, strict=False):
        convolution(1, inputs, outputs)
        separable(inputs, outputs)
        separable(outputs, outputs)
    bias = generator.normal(size=classes).astype(np.float32)
    layers[name("conv2d")] = {"kernel": kernel(3, 3, WIDTHS[-1], classes), "bias": bias}
    return layers


def write_keras(path: Path, layers: Layers, root: str = "model_weights/") -> Path:
    """An HDF5 file as `model.save` leaves it: layers without parameters and the optimiser's moments among it."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["model_config"] = "2.0.5", '{"class_name": "Model"}'
        for empty in ("input_1", "activation_1"):
            file.create_group(f"{root}{empty}")
        for layer, parts in layers.items():
            for part, values in parts.items():
                file[f"{root}{layer}/{layer}_1/{part}:0"] = values
        if root:
            file["optimizer_weights/Variable:0"] = np.zeros(3, np.float32)
    return path


class Keras:
    """Keras' own layers, a picture (H, W, C) at a time."""

    def __init__(self, layers: Layers) -> None:
        kinds = ("separable_conv2d", "conv2d", "batch_normalization")
        self.left = {kind: [parts for name, parts in layers.items() if name.startswith(kind)] for kind in kinds}

    def take(self, kind: str) -> dict[str, np.ndarray]:
        return {part: values.astype(np.float64) for part, values in self.left[kind].pop(0).items()}

    def convolve(self, x: np.ndarray, stride: int = 1, same: bool = True) -> np.ndarray:
        parts = self.take("conv2d")
        kernel = parts["kernel"]
        cells = windows(x, len(kernel), stride, 0.0) if same else sliding_window_view(x, kernel.shape[:2], (0, 1))
        return np.einsum("hwcij,ijco->hwo", cells, kernel) + parts.get("bias", 0.0)

    def separable(self, x: np.ndarray) -> np.ndarray:
        parts = self.take("separable_conv2d")
        depth = np.einsum("hwcij,ijc->hwc", windows(x, 3, 1, 0.0), parts["depthwise_kernel"][..., 0])
        return depth @ parts["pointwise_kernel"][0, 0]

    def norm(self, x: np.ndarray) -> np.ndarray:
        parts = self.take("batch_normalization")
        scaled = (x - parts["moving_mean"]) / np.sqrt(parts["moving_variance"] + 1e-3)
        return scaled * parts["gamma"] + parts["beta"]

    def trunk(self, x: np.ndarray) -> np.ndarray:
        """A grey picture (H, W, 1) in [-1, 1] to the last block's map."""
        for _ in range(2):
            x = relu(self.norm(self.convolve(x, same=False)))
        for _ in WIDTHS:
            shortcut = self.norm(self.convolve(x, stride=2))
            y = self.norm(self.separable(relu(self.norm(self.separable(x)))))
            x = windows(y, 3, 2, -np.inf).max(axis=(3, 4)) + shortcut
        return x

    def logits(self, x: np.ndarray) -> np.ndarray:
        return self.convolve(self.trunk(x)).mean(axis=(0, 1))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def windows(x: np.ndarray, kernel: int, stride: int, fill: float) -> np.ndarray:
    """(H, W, C) to what each output sees (H', W', C, kernel, kernel) under 'same': odd padding goes behind."""

    def padding(side: int) -> tuple[int, int]:
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        return total // 2, total - total // 2

    padded: Any = np.pad(x, (padding(x.shape[0]), padding(x.shape[1]), (0, 0)), constant_values=fill)
    return sliding_window_view(padded, (kernel, kernel), (0, 1))[::stride, ::stride]
