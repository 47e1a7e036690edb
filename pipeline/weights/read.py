"""A published weight file as it is stored, named tensors in whatever mappings, and nothing in it run.

Pickles are read in torch's restricted mode: tensors and plain containers, and an `argparse.Namespace` (the arguments
that MAE and its descendants keep), which is admitted by name. Anything else is refused with its name.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from safetensors import SafetensorError
from safetensors.torch import load_file

from pipeline.core.errors import MienError
from pipeline.weights.hdf5 import read_hdf5

TORCH = (".pth", ".pt", ".bin", ".ckpt", ".tar")
KERAS = (".h5", ".hdf5")
FORMS = (".safetensors", ".onnx", *KERAS, *TORCH)
BEGINNING = 512  # bytes that tell a web page or a pointer from weights
FOREIGN = re.compile(r"(?:GLOBAL|class) '?([A-Za-z_][\w.]*\.\w+)")


def read_stored(path: Path) -> dict[str, Any]:
    """What a file holds: tensors by name, or mappings of them as its author nested them.

    Raises `MienError` for a file that is not there, not of these forms, not whole, or holds more than data.
    """
    if path.suffix.lower() not in FORMS:
        raise MienError(f"{path}: not a form of weights that is read here ({', '.join(FORMS)})", exit_code=2)
    try:
        with path.open("rb") as file:
            beginning = file.read(BEGINNING)
    except OSError as error:
        raise MienError(f"{path}: {error.strerror}", exit_code=2) from None
    _check_beginning(path, beginning.lstrip().lower())
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    if path.suffix.lower() in KERAS:
        return read_hdf5(path)
    return _read_onnx(path) if path.suffix.lower() == ".onnx" else _read_torch(path)


def _check_beginning(path: Path, beginning: bytes) -> None:
    if not beginning:
        raise MienError(f"{path}: empty; fetch it again")
    if beginning.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise MienError(f"{path}: a web page, not weights; open the link in a browser and download the file itself")
    if beginning.startswith(b"version https://git-lfs"):
        raise MienError(f"{path}: a pointer of Git LFS, not weights; fetch the file itself (`git lfs pull`)")


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise MienError(f"{path}: not whole, or not safetensors ({error}); fetch it again") from None


def _read_onnx(path: Path) -> dict[str, Any]:
    """The parameters of an ONNX file by the names that its export kept."""
    try:
        graph = onnx.load(path).graph
        return {entry.name: torch.from_numpy(numpy_helper.to_array(entry).copy()) for entry in graph.initializer}
    except Exception as error:  # protobuf's, onnx's and the system's own
        raise MienError(f"{path}: not whole, or not ONNX ({_first_line(error)}); fetch it again") from None


def _read_torch(path: Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler's, the archive's and the system's own
        if foreign := FOREIGN.search(str(error)):
            raise MienError(
                f"{path}: holds more than tensors: {foreign[1]}, which would run as code; whoever trusts the file can "
                "save its state_dict() anew and hand that over"
            ) from None
        raise MienError(f"{path}: not whole, or not a checkpoint ({_first_line(error)}); fetch it again") from None
    if not isinstance(stored, dict):
        raise MienError(f"{path}: holds a {type(stored).__name__}, not tensors by name")
    return stored


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].split(". ")[0][:160]
