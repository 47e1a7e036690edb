"""Pretrain the encoder as a masked autoencoder on all crops that the tracks' rules allow.

Reads the faces of `pretrain_mae.sources` and the list of training videos (no labels); writes `artifacts/mae/`:
encoder.safetensors, meta.json, curve.csv, reconstruction.png. Run it with `dvc repro pretrain_mae` or `python -m
stages.pretrain_mae`. A killed run goes on from its last checkpoint.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
import yaml

from models.mae import MAE
from pipeline.base.command import run_main
from pipeline.base.curves import write_curve
from pipeline.base.params import load_params
from pipeline.base.rules import check_pretraining
from pipeline.base.tracking import stage_run
from pipeline.errors import MienError
from pipeline.layout import ENCODER, FACES, SPLITS
from pipeline.publish import atomic_dir
from pipeline.train.augmenting import augmenter
from pipeline.train.checkpoint import drop_checkpoints
from pipeline.train.encoder import save_encoder
from pipeline.train.loop import Training, train
from pipeline.train.pretrain import PICTURES, Pool, build_mae, epoch_indices, write_pictures
from pipeline.train.work import training_folder


def check_declared(sources: Sequence[str]) -> None:
    """Each source must be a dep in dvc.yaml, or the lock would not tell what the encoder has seen."""
    deps = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]["pretrain_mae"]["deps"]
    for source in sources:
        if (FACES / source).as_posix() not in deps:
            raise MienError(
                f"dvc.yaml: pretrain_mae: add {FACES / source} to deps, since params.yaml names the source {source}"
            )


def main() -> None:
    """Train, then publish the encoder with its curve and pictures."""
    params = load_params()
    settings, vit = params.pretrain_mae, params.vit
    check_pretraining(settings.sources, params.ensemble.members)
    check_declared(settings.sources)
    inputs = [*(FACES / source for source in settings.sources), SPLITS]
    logged = {"pretrain_mae": settings.model_dump(), "vit": vit.model_dump()}
    with stage_run("pretrain_mae", logged, inputs) as run:
        pool = Pool(settings.sources)
        pixels, batch = vit.image_pixels, settings.optimise.batch

        def batches(_: np.random.Generator, step: int) -> dict[str, torch.Tensor]:
            indices = epoch_indices(len(pool), batch, settings.seed, step)
            return {"images": torch.from_numpy(pool.images(indices, pixels))}

        training = Training(
            name="pretrain_mae",
            module=build_mae(vit, settings),
            batches=batches,
            prepare=augmenter(settings.augment, pixels),
            optimise=settings.optimise,
            seed=settings.seed,
            folder=training_folder("pretrain_mae", "stages.pretrain_mae", logged, inputs),
            log=run.log,
            checkpoint_seconds=settings.checkpoint_seconds,
        )
        mae = cast(MAE, train(training))
        with atomic_dir(ENCODER) as out:
            save_encoder(out, mae.encoder, vit, settings.sources)
            write_curve(out / "curve.csv", training.history)
            shown = np.linspace(0, len(pool) - 1, PICTURES).astype(np.int64)
            write_pictures(out / "reconstruction.png", mae, pool.images(shown, pixels), settings.seed)
        drop_checkpoints(training.folder.parent)
        run.artifact(ENCODER)
        print(f"pretrain_mae: {len(pool)} crops, final loss {training.history[-1]['loss']:.3f}")


if __name__ == "__main__":
    run_main(main)
