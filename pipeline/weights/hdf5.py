"""The parameters of a Keras file (.h5, .hdf5) by h5py: numbers alone, without TensorFlow, and nothing in it run.

Keras keeps a group a layer below `model_weights` (at the root of a file of weights alone), and in it a data set a
parameter: `conv2d_1/conv2d_1_1/kernel:0`. Here that is `conv2d_1.kernel`. What could lead out of the file (external and
soft links, external and virtual storage) is refused, and so is a size beyond what the file can hold.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.core.errors import MienError

ROOT = "model_weights"
SHRUNK = 8  # how much smaller than its numbers a file of packed weights is at the most


def read_hdf5(path: Path) -> dict[str, Tensor]:
    """Parameters by layer and name, in Keras' own order of axes.

    Raises `MienError` for a file that is not whole, leads elsewhere, or holds no layers.
    """
    try:
        import h5py
    except ImportError:
        raise MienError(f"{path}: Keras' files are read by h5py; install it: `pip install 'mien[h5]'`") from None
    try:
        with h5py.File(path, "r") as file:
            _check_links(path, file)
            return _parameters(path, file.get(ROOT, file))
    except MienError:
        raise
    except Exception as error:  # HDF5's own, of whatever is damaged
        reason = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise MienError(f"{path}: not whole, or not HDF5 ({reason}); fetch it again") from None


def _check_links(path: Path, file: Any) -> None:
    """Refuse names that stand for something else, in this file or in another."""
    import h5py

    strange: list[str] = []

    def look(name: str, link: Any) -> None:
        if not isinstance(link, h5py.HardLink):
            strange.append(name)

    file.visititems_links(look)
    if strange:
        raise MienError(f"{path}: {strange[0]} is a link and no data; Keras writes none, fetch the file anew")


def _parameters(path: Path, root: Any) -> dict[str, Tensor]:
    import h5py

    found: dict[str, Any] = {}

    def collect(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or "/" not in name:
            return
        layer, parameter = name.split("/")[0], name.split("/")[-1].partition(":")[0]
        if f"{layer}.{parameter}" in found:
            raise MienError(f"{path}: {layer} is a model within the model, which is not read here")
        _check_storage(path, name, item)
        found[f"{layer}.{parameter}"] = item

    root.visititems(collect)
    if not found:
        raise MienError(f"{path}: holds no layers of Keras")
    _check_sizes(path, found)
    return {name: torch.from_numpy(item[()]) for name, item in found.items()}


def _check_storage(path: Path, name: str, item: Any) -> None:
    if item.external or item.is_virtual:
        raise MienError(f"{path}: the numbers of {name} lie in another file; Keras writes none so, fetch it anew")
    if item.dtype.kind != "f" or item.dtype.itemsize > 8:
        raise MienError(f"{path}: {name} holds no numbers of a network ({item.dtype})")


def _check_sizes(path: Path, found: dict[str, Any]) -> None:
    """Refuse shapes that would take more memory than the file's numbers can: a few bytes may claim terabytes."""
    wanted = sum(item.size * item.dtype.itemsize for item in found.values())
    if wanted > path.stat().st_size * SHRUNK:
        largest = max(found, key=lambda name: found[name].size)
        shape = " x ".join(map(str, found[largest].shape))
        raise MienError(f"{path}: {largest} claims {shape} numbers, more than the file can hold; fetch it again")
