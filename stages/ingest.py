"""Read an official release (a loose folder or an imported pack) into the manifest.

Reads `data.root`; writes `artifacts/manifest/`: `labels/<track>.parquet`, `templates/<track>.parquet` with the
official file verbatim beside it, `splits.parquet`, `pretraining.parquet` (what of them pretraining may read),
`media.parquet`, `card.json`, `quality.json`. Run it with `dvc repro ingest` or `python -m stages.ingest`.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.core.files import atomic_dir, write_json
from pipeline.core.params import read_section, read_value, validated
from pipeline.core.parquet import write_parquet
from pipeline.core.paths import MANIFEST
from pipeline.release.discover import find_release
from pipeline.release.files import Data
from pipeline.run.command import run_main
from pipeline.run.tracking import stage_run
from pipeline.tables.manifest import Manifest, Sources, label_summary, media_table
from pipeline.tables.pretraining import PRETRAINING, pretraining_table, split_sets
from pipeline.validate.survey import survey_release


def main() -> None:
    """Build the manifest of `data.root`."""
    data = read_section("data", Data)
    root = Path(data.root)
    # this one value of its section, so that the detector's settings do not decide the manifest
    source = validated(Sources, {"source": read_value("detect_align.source")}, "detect_align").source
    folders = [folder for pair in read_value("graph.encoders").values() for folder in pair]
    with stage_run("ingest", {"data": data.model_dump(), "source": list(source)}) as run, atomic_dir(MANIFEST) as out:
        release = find_release(root)
        manifest = Manifest(release, source)
        card: dict[str, Any] = {"name": data.name, "tracks": {}}
        for track in manifest.tracks():
            labels = manifest.labels(track)
            write_parquet(out / "labels" / f"{track}.parquet", labels)
            card["tracks"][track] = label_summary(labels)
            if path := release.template(track):
                template = manifest.template(track)
                write_parquet(out / "templates" / f"{track}.parquet", template)
                (out / "templates" / f"{track}.txt").write_bytes(release.read_bytes(path))
                card["tracks"][track]["test"] = {"rows": len(template), "template": path.as_posix()}
        splits = manifest.splits()
        write_parquet(out / "splits.parquet", splits)
        write_parquet(out / PRETRAINING.name, pretraining_table(splits, split_sets(folders)))
        media = manifest.media()
        write_parquet(out / "media.parquet", media_table(media))
        card["media"] = dict(sorted(Counter(f"{item.dataset}/{item.kind}" for item in media).items()))
        card["sources"] = manifest.sources()
        quality = survey_release(release)  # every picture is decoded by the next stage anyway
        write_json(out / "quality.json", quality.to_json())
        card["skipped"] = [[path.as_posix(), reason] for path, reason in release.skipped]
        write_json(out / "card.json", card, sort_keys=True)
        run.log({f"rows_{track}": sum(s["rows"] for s in splits.values()) for track, splits in card["tracks"].items()})
        run.artifact(MANIFEST / "card.json")
        print(f"ingest: {len(media)} media items, tracks {', '.join(card['tracks'])}")


if __name__ == "__main__":
    run_main(main)
