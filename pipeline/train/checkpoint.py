"""Training checkpoints without pickle: tensors in safetensors, everything else in JSON, trusted only with its
checksum.
"""

import json
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn, optim

from pipeline.core.files import atomic_write_text, file_digest
from pipeline.core.tensors import save_tensors

KEEP = 2


def optimiser_tensors(optimiser: optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as `<parameter number>.<name>` tensors."""
    state = optimiser.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def restore_optimiser(optimiser: optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of `optimiser_tensors`; learning rates come from the schedule, not from the checkpoint.

    Each moment lies in memory as its weight does (files hold no layout): the fused step reads both side by side.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    for weight, values in optimiser.state.items():
        moments = {name: value for name, value in values.items() if value.shape == weight.shape}
        values |= {name: torch.empty_like(weight).copy_(value) for name, value in moments.items()}


def joined_states(**modules: nn.Module | dict[str, Tensor]) -> dict[str, Tensor]:
    """State dicts of several modules in one flat dict, `name/key`."""
    flat: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors = module.state_dict() if isinstance(module, nn.Module) else module
        flat |= {f"{name}/{key}": value for key, value in tensors.items()}
    return flat


def state_of(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The part of a joined dict that belongs to `name`."""
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}


def save_checkpoint(folder: Path, step: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write the state after `step` steps; the JSON comes last and seals it. The last two are kept."""
    path = folder / f"{step:08d}.safetensors"
    save_tensors(path, tensors)
    atomic_write_text(path.with_suffix(".json"), json.dumps({"step": step, "sha256": file_digest(path), "meta": meta}))
    for old in sorted(folder.glob("*.json"))[:-KEEP]:
        _drop(old)


class Writer:
    """Checkpoints written by a thread while training goes on, one at a time.

    An error of the disk comes with the next checkpoint, or at the end.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._under_way: Future[None] | None = None

    def write(self, folder: Path, step: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Copy the tensors to the host and have them written; `meta` must not change any more."""
        self.wait()
        held = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
        self._under_way = self._thread.submit(save_checkpoint, folder, step, held, meta)

    def wait(self) -> None:
        """Until nothing is under way; raises what went wrong."""
        under_way, self._under_way = self._under_way, None
        if under_way:
            under_way.result()

    def close(self) -> None:
        """Wait, and let the thread go."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()


def _drop(sealed: Path) -> None:
    sealed.unlink()
    sealed.with_suffix(".safetensors").unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint whose checksum holds, or None."""
    for seal in sorted(folder.glob("*.json"), reverse=True):
        try:
            content = json.loads(seal.read_text())
            path = seal.with_suffix(".safetensors")
            if file_digest(path) == content["sha256"]:
                return content["step"], load_file(path), content["meta"]
        except (OSError, ValueError, KeyError, TypeError):  # TypeError: JSON of another shape
            continue
    return None


def drop_checkpoints(folder: Path) -> None:
    """Forget a finished run's checkpoints."""
    shutil.rmtree(folder, ignore_errors=True)


def keep_finished(folder: Path) -> None:
    """Of a stage's trainings keep the one in `folder`, by its last checkpoint; the others cannot be gone on with."""
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other)
    for old in sorted(folder.glob("*.json"))[:-1]:
        _drop(old)
