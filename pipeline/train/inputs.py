"""Which bytes decide a training: what it learns from and is judged by, and nothing of the test list.

A checkpoint is found again by these. So a new test list, or new test recordings, make the stage run again and cost no
training: the finished one's last checkpoint is there, and only predictions are made.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.compute as pc

from pipeline.abaw.tracks import Track
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import FACES, FEATURES, LABELS, TEMPLATES


def training_inputs(deps: Sequence[Path], track: Track) -> list[Path]:
    """The deps of a training without the track's template, and of its own faces and features the shards that hold a
    labelled video.
    """
    videos = set(pc.unique(read_parquet(LABELS / f"{track.name}.parquet", ["video"])["video"]).to_pylist())
    found: list[Path] = []
    for path in deps:
        own = path.name == track.dataset and (path.is_relative_to(FACES) or path.is_relative_to(FEATURES))
        if own and path.is_dir():
            found += _with_any(path, videos)
        elif path != TEMPLATES / f"{track.name}.parquet":
            found.append(path)
    return found


def _with_any(folder: Path, videos: set[str]) -> Iterator[Path]:
    """The shards of a folder that have a row of one of these videos."""
    for shard in sorted(folder.rglob("*.parquet")):
        if videos.intersection(pc.unique(read_parquet(shard, ["video"])["video"]).to_pylist()):
            yield shard
