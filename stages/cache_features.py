"""Run one frozen backbone over the faces of its data sets and keep its features.

Reads the faces and the backbone's weights; writes `artifacts/features/<backbone>/<dataset>/<video>.parquet`. Run it
with `dvc repro cache_features@<backbone>` or `python -m stages.cache_features <backbone>`. Shards are made once for
each face shard and weights, so new recordings cost only themselves.
"""

import sys
from collections import deque
from functools import partial
from pathlib import Path

from pipeline.backbones.encoder import Vit
from pipeline.backbones.features import CachedBackbone, CacheFeatures
from pipeline.core.code import code_digest
from pipeline.core.files import atomic_dir, content_digest
from pipeline.core.graph import CachedFeatures
from pipeline.core.params import read_section
from pipeline.core.paths import FACES, FEATURES
from pipeline.core.workstore import is_sealed, known_digest, link, prune, stored, work_key
from pipeline.run.command import run_main, stage_argument
from pipeline.run.parallel import run_tasks
from pipeline.run.tracking import stage_run
from pipeline.systems.extractor import feature_facts, make_shard


def cache(name: str) -> None:
    """Features of every face shard under one backbone."""
    settings = read_section(f"cache_features.backbones.{name}", CachedBackbone)
    line = read_section(f"graph.features.{name}", CachedFeatures)
    vit, batch = read_section("vit", Vit), read_section("cache_features", CacheFeatures).batch
    faces = [path for dataset in settings.datasets for path in sorted((FACES / dataset).rglob("*.parquet"))]
    logged = {"cache_features": settings.model_dump(), "vit": vit.model_dump()}
    with stage_run(f"cache_features@{name}", logged) as run:
        weights = content_digest([Path(line.weights)])
        code = code_digest("pipeline.backbones.features")
        shards = []
        for path in faces:
            key = work_key(faces=known_digest(path), weights=weights, code=code, backbone=settings.model_dump())
            shards.append((path.relative_to(FACES), stored(f"cache_features-{name}", key, ".parquet")))
        missing = [(FACES / path, shard) for path, shard in shards if not is_sealed(shard)]
        function = partial(make_shard, settings=settings, weights=Path(line.weights), batch=batch)
        facts = partial(feature_facts, Path(line.weights), [path for path, _ in missing])
        deque(run_tasks(function, missing, f"cache_features {name}", facts, workers=1), maxlen=0)
        with atomic_dir(FEATURES / name) as out:
            for path, shard in shards:
                link(shard, out / path)
        prune(f"cache_features-{name}", [shard for _, shard in shards])
        run.log({"shards": len(shards)})
        print(f"cache_features {name}: {len(shards)} shards")


if __name__ == "__main__":
    run_main(lambda: cache(stage_argument(sys.argv, "BACKBONE")))
