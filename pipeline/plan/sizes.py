"""How much of everything a project has: read from the manifest, so that what it will cost can be told before."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from pipeline.core.graph import dataset_of
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import LABELS, MEDIA, TEMPLATES
from pipeline.core.pictures import UnreadableMedia
from pipeline.faces.media import read_frames, stated_frames
from pipeline.release.files import LooseStore
from pipeline.tables.manifest import MediaItem, media_items
from pipeline.tables.scores import task_arrays
from pipeline.train.data import valid_rows


@dataclass(frozen=True)
class Rows:
    """Rows of a track: labelled ones of training and validation, all of validation, all of the test list."""

    train: int
    judged: int
    validation: int
    test: int


@dataclass(frozen=True)
class Media:
    """One way in which a data set's faces are got: how many frames or pictures, and an item to try it on."""

    dataset: str
    kind: str
    frames: int
    example: MediaItem


def track_rows(track: str) -> Rows:
    """Counted in the labels and the template of a track."""
    labels = read_parquet(LABELS / f"{track}.parquet")
    valid = valid_rows(task_arrays(track, labels))
    validation = np.array(pc.equal(labels["split"], "validation"))
    test = len(read_parquet(TEMPLATES / f"{track}.parquet"))
    return Rows(int((valid & ~validation).sum()), int((valid & validation).sum()), int(validation.sum()), test)


def media(root: Path) -> list[Media]:
    """Everything that faces are looked for in, by data set and kind."""
    items = [item for item in media_items(read_parquet(MEDIA)) if item.paths]
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], MediaItem] = {}
    for item in items:
        key = (item.dataset, item.kind)
        counts[key] += _frames(item, root)
        examples.setdefault(key, item)
    return [Media(dataset, kind, count, examples[dataset, kind]) for (dataset, kind), count in sorted(counts.items())]


def _frames(item: MediaItem, root: Path) -> int:
    """Frames of a video, of which the file tells where no list does; pictures of a folder."""
    if item.kind == "video" and not item.frames:
        place = LooseStore(root).local(item.paths[0])
        return _counted(place) if place else 0
    return item.count or item.frames


def _counted(video: Path) -> int:
    """As many as the container states, or, where it states none, as can be read."""
    try:
        return stated_frames(video) or sum(1 for _ in read_frames(video))
    except UnreadableMedia:
        return 0


def faces_in(found: list[Media], folders: list[str]) -> int:
    """Frames of the data sets whose faces lie in these folders."""
    wanted = {dataset_of(Path(folder)) for folder in folders}
    return sum(part.frames for part in found if part.dataset in wanted)
