"""Run one frozen backbone over all faces and keep its features.

Reads `artifacts/faces/` and the encoder; writes `artifacts/features/<backbone>/<dataset>/<video>.parquet`. Run it with
`dvc repro cache_features@<backbone>` or `python -m stages.cache_features <backbone>`. Shards are made once for each
face shard and encoder, so new recordings cost only themselves.
"""

import sys
from pathlib import Path

from pipeline.base.closure import code_digest
from pipeline.base.command import run_main
from pipeline.base.params import Params, load_params
from pipeline.base.tracking import stage_run
from pipeline.base.weights import sha256_of
from pipeline.base.work import link, prune, stored, work_key
from pipeline.errors import MienError
from pipeline.features import Extractor, load_backbone, write_features
from pipeline.layout import ENCODER, FACES, FEATURES
from pipeline.publish import atomic_dir
from pipeline.train.work import content_digest


def cache(name: str, params: Params) -> None:
    """Features of every face shard under one backbone."""
    settings = params.cache_features.backbones.get(name)
    if settings is None:
        raise MienError(f"params.yaml: cache_features.backbones has no {name}", exit_code=2)
    own = settings.name == "encoder"
    inputs = [FACES, *([ENCODER] if own else [])]
    with stage_run(f"cache_features@{name}", {"cache_features": params.cache_features.model_dump()}, inputs) as run:
        weights = content_digest([ENCODER / "encoder.safetensors"] if own else [Path(settings.weights or "")])
        code = code_digest("pipeline.features")
        extractor: Extractor | None = None
        shards = []
        for faces in sorted(FACES.rglob("*.parquet")):
            key = work_key(faces=sha256_of(faces), weights=weights, code=code, backbone=settings.model_dump())
            shard = stored(f"cache_features-{name}", key, ".parquet")
            if not shard.is_file():
                extractor = extractor or load_backbone(settings, params.vit)
                write_features(faces, shard, extractor, params.cache_features.batch, {"mien.backbone": settings.name})
            shards.append((faces.relative_to(FACES), shard))
        with atomic_dir(FEATURES / name) as out:
            for path, shard in shards:
                link(shard, out / path)
        prune(f"cache_features-{name}", [shard for _, shard in shards])
        run.log({"shards": len(shards)})
        print(f"cache_features {name}: {len(shards)} shards")


def main() -> None:
    """Read the backbone's name from the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m stages.cache_features BACKBONE")
    cache(sys.argv[1], load_params())


if __name__ == "__main__":
    run_main(main)
