"""Find, follow and align the faces of every video, crop folder and picture of the manifest.

Reads the raw release and `artifacts/manifest/media.parquet`; writes `artifacts/faces/<dataset>/<video>.parquet` (JPEG
crop, box, five landmarks, score, one row for every listed frame) and `artifacts/failures.parquet`. Run it with `dvc
repro detect_align` or `python -m stages.detect_align`. A killed run goes on where it stopped.
"""

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from pipeline.core.files import atomic_dir, below
from pipeline.core.params import read_section
from pipeline.core.parquet import read_parquet, write_parquet
from pipeline.core.paths import FACES, FAILURES, MEDIA
from pipeline.core.workstore import link, prune
from pipeline.faces.detector import DetectAlign
from pipeline.faces.extract import FAILURES_SCHEMA, check_bound, shard_name
from pipeline.faces.shards import extract_all
from pipeline.release.files import Data
from pipeline.run.command import run_main
from pipeline.run.parallel import worker_count
from pipeline.run.tracking import stage_run
from pipeline.tables.manifest import media_items

STAGE = "detect_align"


def main() -> None:
    """Extract the faces of the whole release."""
    root, params = Path(read_section("data", Data).root), read_section("detect_align", DetectAlign)
    with stage_run(STAGE, {"detect_align": params.model_dump()}) as run:
        shards = extract_all(media_items(read_parquet(MEDIA)), root, params, STAGE)
        run.workers = worker_count()
        failures = [failure for shard in shards for failure in shard.failures]
        check_bound(shards, failures, params.max_failed_fraction)
        with atomic_dir(FACES) as out:
            for shard in shards:
                link(shard.path, below(out, shard_name(shard.item)))
        write_parquet(FAILURES, pa.Table.from_pylist([asdict(f) for f in failures], schema=FAILURES_SCHEMA))
        prune(STAGE, [shard.path for shard in shards])
        rows, found = sum(s.rows for s in shards), sum(s.found for s in shards)
        reused = sum(s.reused for s in shards)
        run.log({"rows": rows, "faces": found, "failures": len(failures)})
        print(f"detect_align: {found} faces in {rows} rows, {len(failures)} failures, {reused}/{len(shards)} reused")


if __name__ == "__main__":
    run_main(main)
