"""Run one frozen backbone over the faces of its data sets and keep its features.

Reads the faces and the backbone's weights; writes `artifacts/features/<backbone>/<dataset>/<video>.parquet`. Run it
with `dvc repro cache_features@<backbone>` or `python -m stages.cache_features <backbone>`. Shards are made once for
each face shard and weights, so new recordings cost only themselves.
"""

import sys

from pipeline.base.closure import code_digest
from pipeline.base.command import run_main
from pipeline.base.params import Params, load_params
from pipeline.base.tracking import stage_run
from pipeline.base.weights import sha256_of
from pipeline.base.work import link, prune, stored, work_key
from pipeline.errors import MienError
from pipeline.features import Extractor, load_backbone, weights_of, write_features
from pipeline.layout import FACES, FEATURES
from pipeline.publish import atomic_dir


def cache(name: str, params: Params) -> None:
    """Features of every face shard under one backbone."""
    settings = params.cache_features.backbones.get(name)
    if settings is None:
        raise MienError(f"params.yaml: cache_features.backbones has no {name}", exit_code=2)
    weights_file = weights_of(settings)
    faces = [path for dataset in settings.datasets for path in sorted((FACES / dataset).rglob("*.parquet"))]
    logged = {"cache_features": settings.model_dump(), "vit": params.vit.model_dump()}
    inputs = [*(FACES / dataset for dataset in settings.datasets), weights_file]
    with stage_run(f"cache_features@{name}", logged, inputs) as run:
        weights = sha256_of(weights_file) if weights_file.is_file() else ""
        code = code_digest("pipeline.features")
        extractor: Extractor | None = None
        shards = []
        for path in faces:
            key = work_key(faces=sha256_of(path), weights=weights, code=code, backbone=settings.model_dump())
            shard = stored(f"cache_features-{name}", key, ".parquet")
            if not shard.is_file():
                extractor = extractor or load_backbone(settings, params)
                write_features(path, shard, extractor, params.cache_features.batch, {"mien.backbone": settings.name})
            shards.append((path.relative_to(FACES), shard))
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
