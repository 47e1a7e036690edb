"""Every system of the zoo, trained for a few steps by however many processes: `python -m tests.train.split FOLDER`.

`MIEN_PROCESSES` says how many. Leaves FOLDER/<system>.safetensors and FOLDER/<system>.json (the curve), written by
rank 0. With a second argument, a step, the last system alone is trained, and rank 1 is killed before it.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from models.backbone import vit_backbone
from models.cotex import CoTex, View
from models.mae import MAE
from models.system import Batch, Trainee
from models.thresholds import SelfAdaptiveThreshold
from models.vit import build_vit
from models.vit_heads import VitHeads
from pipeline.core.errors import MienError
from pipeline.core.tensors import save_tensors
from pipeline.run.command import run_main
from pipeline.run.ranks import is_helper, on_ranks
from pipeline.train import distributed
from pipeline.train.loop import Loop, train
from pipeline.train.views import Augment, augmenter
from tests.train.toys import SGD
from tests.zoo import BUILDERS, VIT, batch_of, build_dtm

STEPS, ROWS = 3, 12
EVERY = SGD.model_copy(update={"steps": STEPS, "batch": ROWS, "base_learning_rate": 1.0, "clip_norm": 1.0})
OPTIMISERS = {
    "vit": EVERY.model_copy(update={"ema_decay": 0.5}),
    "emma": EVERY.model_copy(update={"accumulate": 2}),
}
JITTER = Augment(
    shift_fraction=0.1,
    zoom_fraction=0.1,
    rotate_degrees=10.0,
    brightness=0.1,
    contrast=0.1,
    saturation=0.1,
    grey_probability=0.2,
    noise=0.05,
    erase_fraction=0.2,
)


def uneven(batch: Batch) -> Batch:
    """Labels that are mostly missing among the rows of rank 0: a mean of the ranks' means is not that of the batch."""
    for name, nothing in (("expression", -1), ("aus", -1), ("va", -5.0), ("landmarks", float("nan"))):
        if name in batch:
            batch[name][[0, 2, 4, 6, 7]] = nothing
    return batch


def faces(name: str) -> Batch:
    torch.manual_seed(1)
    kind = name.split()[-1]
    batch = batch_of("vit" if kind == "mae" else kind, ROWS)
    return batch if name in ("feedback", "temporal") else uneven(batch)


def standardised_vit() -> VitHeads:
    backbone = vit_backbone(VIT, 2)
    backbone.standardise()
    return VitHeads(backbone, expressions=8, aus=True, va=True, label_smoothing=0.0, pseudo_weight=0.5)


def standardised_cotex() -> CoTex:
    backbones = [vit_backbone(VIT, 2) for _ in range(2)]
    for backbone in backbones:
        backbone.standardise()
    return CoTex([View(backbone, 6) for backbone in backbones], mask_ratio=0.8, consistency_weight=10.0)


NETWORKS: dict[str, Callable[[], Trainee]] = {
    **{name: build for name, build in BUILDERS.items() if name != "dtm"},
    "mae": lambda: MAE(build_vit(16, 4, 16, 2, 2), 8, 1, 2, mask_ratio=0.5),
    "standardised vit": standardised_vit,
    "standardised cotex": standardised_cotex,
    "dtm": lambda: build_dtm(SelfAdaptiveThreshold(8)),
}
LAST = list(NETWORKS)[-1]


def network(name: str) -> Trainee:
    torch.manual_seed(0)
    module = NETWORKS[name]()
    for parameter in module.parameters():  # heads that start at zero would hide what is before them
        parameter.data += 0.05 * torch.randn_like(parameter)
    return module


def loop(name: str, folder: Path, death: int | None, **changes: Any) -> Loop:
    optimise = OPTIMISERS.get(name, EVERY)
    known = faces(name)

    def batches(generator: np.random.Generator, step: int) -> Batch:
        if step == death and is_helper():
            os.kill(os.getpid(), signal.SIGKILL)
        rows = torch.from_numpy(generator.integers(0, ROWS, ROWS))
        return {column: values[rows] for column, values in known.items()}

    settings: dict[str, Any] = {
        "name": name,
        "module": network(name),
        "batches": batches,
        "prepare": (lambda batch: batch) if name == "temporal" else augmenter(JITTER, 16),
        "optimise": optimise,
        "seed": 5,
        "folder": folder / "checkpoints" / name,
        "log": lambda metrics, step: None,
        "evaluate": lambda module: {"score": -float(next(module.parameters()).detach().norm())},
        "evaluate_every": 2,
        "checkpoint_seconds": 1e-9,
    }
    return Loop(**settings | changes)


def main(folder: Path, death: int | None) -> None:
    for name in NETWORKS if death is None else [LAST]:
        run = loop(name, folder, death)
        with patch.object(distributed, "leave"):  # one group of processes for all of them
            module = train(run)
        if not is_helper():
            save_tensors(folder / f"{name}.safetensors", module.state_dict())
            (folder / f"{name}.json").write_text(json.dumps(run.history))
    distributed.leave()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise MienError("usage: python -m tests.train.split FOLDER [STEP]", exit_code=2)
    run_main(lambda: on_ranks(lambda: main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else None)))
