"""Faces and labels of somebody else's data set, as `mien data import --labels` brought it.

Reads the pack that `graph.external.<name>` names; writes `artifacts/external/<name>/`: `faces/` (as `detect_align`
writes them), `labels.parquet` (video, frame, ordinal, image, split, expression, aus, va) and `card.json`. Run it with
`dvc repro external_faces@<name>` or `python -m stages.external_faces <name>`.
"""

import sys
from pathlib import Path

from pipeline.core.files import atomic_dir, below, write_json
from pipeline.core.graph import ExternalSet
from pipeline.core.params import read_section
from pipeline.core.parquet import write_parquet
from pipeline.core.paths import EXTERNAL
from pipeline.core.workstore import link, prune
from pipeline.faces.detector import DetectAlign
from pipeline.faces.extract import check_bound, shard_name
from pipeline.faces.shards import extract_all
from pipeline.release.external import read_card
from pipeline.run.command import run_main, stage_argument
from pipeline.run.parallel import worker_count
from pipeline.run.tracking import stage_run
from pipeline.tables.external import external_items, external_labels


def external_faces(name: str) -> None:
    """Find the faces, key the labels by them, publish both."""
    line, params = read_section(f"graph.external.{name}", ExternalSet), read_section("detect_align", DetectAlign)
    stage, root = f"external_faces@{name}", Path(line.path)
    with stage_run(stage, {"external": line.model_dump(), "detect_align": params.model_dump()}) as run:
        card = read_card(root)
        labels = external_labels(root)
        shards = extract_all(external_items(name, root, labels, card["faces"]), root, params, f"external_faces-{name}")
        run.workers = worker_count()
        failures = [failure for shard in shards for failure in shard.failures]
        check_bound(shards, failures, params.max_failed_fraction)
        with atomic_dir(EXTERNAL / name) as out:
            for shard in shards:
                link(shard.path, below(out / "faces", shard_name(shard.item).partition("/")[2]))
            write_parquet(out / "labels.parquet", labels)
            write_json(out / "card.json", card)
        prune(f"external_faces-{name}", [shard.path for shard in shards])
        rows, found = sum(s.rows for s in shards), sum(s.found for s in shards)
        run.log({"rows": rows, "faces": found, "failures": len(failures)})
        print(f"{stage}: {found} faces in {rows} pictures, {len(labels)} labelled, {len(failures)} failures")


if __name__ == "__main__":
    run_main(lambda: external_faces(stage_argument(sys.argv, "NAME")))
