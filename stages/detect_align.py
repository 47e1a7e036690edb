"""Find, follow and align the faces of every video, crop folder and picture of the manifest.

Reads the raw release and `artifacts/manifest/media.parquet`; writes `artifacts/faces/<dataset>/<video>.parquet` (JPEG
crop, box, five landmarks, score, one row for every listed frame) and `artifacts/failures.parquet`. Run it with `dvc
repro detect_align` or `python -m stages.detect_align`. A killed run goes on where it stopped.
"""

import functools
import itertools
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from pipeline.base.closure import code_digest
from pipeline.base.command import run_main
from pipeline.base.parallel import run_tasks, worker_count
from pipeline.base.params import DetectAlign, load_params
from pipeline.base.shards import read_parquet, write_parquet
from pipeline.base.tracking import stage_run
from pipeline.base.work import link, prune
from pipeline.errors import MienError
from pipeline.faces.detector import verified_digest
from pipeline.faces.extract import STAGE, Failure, Shard, extract
from pipeline.layout import FACES, FAILURES, MEDIA
from pipeline.manifest import MediaItem, media_items
from pipeline.publish import atomic_dir

FAILURES_SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("video", pa.string()),
        ("frame", pa.int32()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("whole", pa.bool_()),
    ]
)


def by_source(items: list[MediaItem]) -> list[list[MediaItem]]:
    """Group the people of one raw video, so that it is decoded once; everything else stands alone."""

    def key(item: MediaItem) -> tuple:
        shared = item.kind == "video" and item.side
        # -1: a recording may be annotated under its plain name as well as under a side's
        return (item.dataset, item.base_video, -1) if shared else (item.dataset, item.video, item.first)

    return [sorted(group) for _, group in itertools.groupby(sorted(items, key=key), key)]


def shard_name(item: MediaItem) -> str:
    """Path of an item's shard below the faces folder; ranges of a folder are numbered by their first picture."""
    part = "" if item.count in (0, item.frames) else f".{item.first:07d}"
    return f"{item.dataset}/{item.video}{part}.parquet"


def check_bound(shards: list[Shard], failures: list[Failure], bound: float) -> None:
    """Fail when more of the media than `bound` gave nothing; single unreadable pictures count as their share."""
    lost = sum(1.0 if f.whole else 1 / max(1, _rows(shards, f)) for f in failures)
    fraction = lost / max(1, len(shards))
    if fraction > bound:
        first = failures[0]
        raise MienError(
            f"{fraction:.1%} of the media could not be read (bound {bound:.1%}), first {first.source or first.video}: "
            f"{first.reason}; mend the files or raise detect_align.max_failed_fraction in params.yaml"
        )


def _rows(shards: list[Shard], failure: Failure) -> int:
    return sum(s.rows for s in shards if (s.item.dataset, s.item.video) == (failure.dataset, failure.video))


def extract_all(root: Path, params: DetectAlign) -> list[Shard]:
    """Shards of every media item, made by worker processes or found in the work store."""
    sources = by_source(media_items(read_parquet(MEDIA)))
    function = functools.partial(
        extract, root=root, params=params, code=code_digest("pipeline.faces.extract"), weights=verified_digest(params)
    )
    return [shard for shards in run_tasks(function, sources, "detect_align") for shard in shards]


def main() -> None:
    """Extract the faces of the whole release."""
    params = load_params()
    root = Path(params.data.root)
    with stage_run("detect_align", {"detect_align": params.detect_align.model_dump()}, [root, MEDIA]) as run:
        shards = extract_all(root, params.detect_align)
        run.workers = worker_count()
        failures = [failure for shard in shards for failure in shard.failures]
        check_bound(shards, failures, params.detect_align.max_failed_fraction)
        with atomic_dir(FACES) as out:
            for shard in shards:
                link(shard.path, out / shard_name(shard.item))
        write_parquet(FAILURES, pa.Table.from_pylist([asdict(f) for f in failures], schema=FAILURES_SCHEMA))
        prune(STAGE, [shard.path for shard in shards])
        rows, found = sum(s.rows for s in shards), sum(s.found for s in shards)
        reused = sum(s.reused for s in shards)
        run.log({"rows": rows, "faces": found, "failures": len(failures)})
        print(f"detect_align: {found} faces in {rows} rows, {len(failures)} failures, {reused}/{len(shards)} reused")


if __name__ == "__main__":
    run_main(main)
