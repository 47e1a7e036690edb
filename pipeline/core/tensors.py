"""Weights on disk: safetensors, never pickle."""

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from pipeline.core.files import atomic_path


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Publish named tensors as one safetensors file, on the CPU and contiguous."""
    with atomic_path(path) as temporary:
        save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, temporary)
