"""Read an official release (a loose folder or an imported pack) into the manifest.

Reads `data.root`; writes `artifacts/manifest/`: `labels/<track>.parquet`, `templates/<track>.parquet` with the
official file verbatim beside it, `splits.parquet`, `media.parquet`, `card.json`, `quality.json`. Run it
with `dvc repro ingest` or `python -m stages.ingest`.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.abaw.release import find_release
from pipeline.abaw.validate import validate_release
from pipeline.base.command import run_main
from pipeline.base.params import load_params
from pipeline.base.shards import write_parquet
from pipeline.base.tracking import stage_run
from pipeline.layout import MANIFEST
from pipeline.manifest import LABEL_TYPES, Manifest, media_table
from pipeline.publish import atomic_dir


def label_summary(table: pa.Table) -> dict[str, Any]:
    """Rows, videos and valid labels of each split of a track's labels."""
    summary = {}
    for split, rows in table.to_pandas().groupby("split"):
        valid = {}
        for task in LABEL_TYPES:
            if task in rows:
                valid[task] = int(sum(min(v) >= -1 if task == "va" else min(v) >= 0 for v in _as_lists(rows[task])))
        entry: dict[str, Any] = {"rows": len(rows), "videos": int(rows["video"].nunique()), "valid": valid}
        if "expression" in rows:
            entry["classes"] = dict(sorted(Counter(int(v) for v in rows["expression"]).items()))
        summary[str(split)] = entry
    return summary


def _as_lists(column: Any) -> Any:
    return ([v] if not hasattr(v, "__len__") else v for v in column)


def main() -> None:
    """Build the manifest of `data.root`."""
    params = load_params()
    root = Path(params.data.root)
    with stage_run("ingest", {"data": params.data.model_dump()}, [root]) as run, atomic_dir(MANIFEST) as out:
        release = find_release(root)
        manifest = Manifest(release)
        card: dict[str, Any] = {"name": params.data.name, "tracks": {}}
        for track in manifest.tracks():
            labels = manifest.labels(track)
            write_parquet(out / "labels" / f"{track}.parquet", labels)
            card["tracks"][track] = label_summary(labels)
            if path := release.template(track):
                template = manifest.template(track)
                write_parquet(out / "templates" / f"{track}.parquet", template)
                (out / "templates" / f"{track}.txt").write_bytes(release.read_bytes(path))
                card["tracks"][track]["test"] = {"rows": len(template), "template": path.as_posix()}
        write_parquet(out / "splits.parquet", manifest.splits())
        media = manifest.media()
        write_parquet(out / "media.parquet", media_table(media))
        card["media"] = dict(sorted(Counter(f"{item.dataset}/{item.kind}" for item in media).items()))
        quality = validate_release(root, decode_limit=0)  # every picture is decoded by the next stage anyway
        (out / "quality.json").write_text(json.dumps(quality.to_json(), indent=1) + "\n")
        card["skipped"] = [[path.as_posix(), reason] for path, reason in release.skipped]
        (out / "card.json").write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
        run.log({f"rows_{track}": sum(s["rows"] for s in splits.values()) for track, splits in card["tracks"].items()})
        run.artifact(MANIFEST / "card.json")
        print(f"ingest: {len(media)} media items, tracks {', '.join(card['tracks'])}")


if __name__ == "__main__":
    run_main(main)
