"""Pretrain the encoder as a masked autoencoder on all crops that the tracks' rules allow.

Reads the faces of `graph.encoders.<name>` and the list of training videos (no labels); writes `artifacts/mae/`:
encoder.safetensors, meta.json, curve.csv, reconstruction.png. Run it with `dvc repro pretrain_mae@<name>` or `python
-m stages.pretrain_mae <name>`. A killed run goes on from its last checkpoint.
"""

import sys
from pathlib import Path
from typing import cast

import numpy as np
import torch

from models.mae import MAE
from pipeline.backbones.encoder import Vit, save_encoder
from pipeline.backbones.loading import load_weights
from pipeline.core.deps import stage_deps
from pipeline.core.files import atomic_dir
from pipeline.core.graph import Graph, dataset_of
from pipeline.core.params import read_section
from pipeline.core.paths import ENCODER
from pipeline.core.workstore import training_folder
from pipeline.run.command import run_main, stage_argument
from pipeline.run.ranks import on_ranks
from pipeline.run.tracking import stage_run
from pipeline.tables.curves import write_curve
from pipeline.train.budget import stretched
from pipeline.train.checkpoint import drop_checkpoints
from pipeline.train.loop import Loop, train
from pipeline.train.mae import PICTURES, Pool, PretrainMae, build_mae, epoch_indices, write_pictures
from pipeline.train.views import augmenter


def pretrain(name: str) -> None:
    """Train, then publish the encoder with its curve and pictures."""
    stage = f"pretrain_mae@{name}"
    folders = [Path(folder) for folder in dict.fromkeys(read_section("graph", Graph).encoders[name])]  # type: ignore[index]
    sources = [dataset_of(folder) for folder in folders]
    settings, vit = read_section("pretrain_mae", PretrainMae), read_section("vit", Vit)
    pool = Pool(folders)
    settings = stretched(settings, settings.optimise, len(pool))
    logged = {"pretrain_mae": settings.model_dump(), "vit": vit.model_dump(), "sources": sources}
    module = build_mae(vit, settings)
    if settings.start:
        load_weights(module.encoder, Path(settings.start), "the encoder")
    with stage_run(stage, logged) as run:
        pixels, batch = vit.image_pixels, settings.optimise.batch

        def batches(_: np.random.Generator, step: int) -> dict[str, torch.Tensor]:
            indices = epoch_indices(len(pool), batch, settings.seed, step)
            return {"images": torch.from_numpy(pool.images(indices, pixels))}

        loop = Loop(
            name=stage,
            module=module,
            batches=batches,
            prepare=augmenter(settings.augment, pixels),
            optimise=settings.optimise,
            seed=settings.seed,
            folder=training_folder(stage, logged, stage_deps(stage)),
            log=run.log,
            checkpoint_seconds=settings.checkpoint_seconds,
            speed=settings.speed,
        )
        mae = cast(MAE, train(loop))
        with atomic_dir(ENCODER) as out:
            save_encoder(out, mae.encoder, vit, sources)
            write_curve(out / "curve.csv", loop.history)
            shown = np.linspace(0, len(pool) - 1, PICTURES).astype(np.int64)
            write_pictures(out / "reconstruction.png", mae, pool.images(shown, pixels), settings.seed)
        drop_checkpoints(loop.folder.parent)
        run.artifact(ENCODER)
        print(f"{stage}: {len(pool)} crops, final loss {loop.history[-1]['loss']:.3f}")


if __name__ == "__main__":
    run_main(lambda: on_ranks(lambda: pretrain(stage_argument(sys.argv, "NAME"))))
