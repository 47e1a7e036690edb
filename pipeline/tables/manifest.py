"""The manifest: an official release as tables, one axis for each track, one row for each thing to look for a face in.

Row key everywhere: (video, frame, ordinal). Frames are 1-based; `ordinal` is the row's place in its official file, so
exact duplicate rows survive. LSD images and unlabelled pictures have no frame numbers: their `video` is the folder and
their `frame` the 1-based rank of the name in it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from pipeline.abaw.names import base_video, side
from pipeline.abaw.readers import parse_template, scan_annotation, scan_mtl, split_images
from pipeline.abaw.text import Problem
from pipeline.abaw.tracks import AUS, TRACKS, TRAINED_TRACKS, VIDEO_TRACKS
from pipeline.core.errors import MienError
from pipeline.core.params import Section
from pipeline.core.suffixes import is_video
from pipeline.release.discover import Release
from pipeline.release.files import parent

PICTURES_PER_ITEM = 4096
LABEL_TYPES = {"expression": pa.int8(), "aus": pa.list_(pa.int8(), len(AUS)), "va": pa.list_(pa.float32(), 2)}
MEDIA_SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("video", pa.string()),
        ("base_video", pa.string()),
        ("side", pa.string()),
        ("first", pa.int32()),
        ("count", pa.int32()),
        ("kind", pa.string()),
        ("paths", pa.list_(pa.string())),
        ("frames", pa.int32()),
    ]
)


Source = Literal["video", "cropped", "cropped_aligned"]


class Sources(Section):
    """What the faces of a video are taken from, the first that it has: `detect_align.source`."""

    source: tuple[Source, ...] = Field(min_length=1, strict=False)

    @field_validator("source", mode="before")
    @classmethod
    def _one_alone(cls, source: Any) -> Any:
        return (source,) if isinstance(source, str) else source


@dataclass(frozen=True, order=True)
class MediaItem:
    """One unit of face extraction.

    kind `video`: one raw video, `paths` its file; `crops`: folders of the organisers' crops, named by frame;
    `aligned`: a folder of crops with free names; `pictures`: a folder of whole pictures. `first` and `count` select a
    range of the sorted names of an `aligned` or `pictures` folder. `frames` is the longest official list of this
    video, 0 where none names it.
    """

    dataset: str
    video: str
    base_video: str
    side: str
    first: int
    count: int
    kind: str
    paths: tuple[str, ...]
    frames: int


class Manifest:
    """Reads a release once and gives its tables; `source` tells what the faces of a video are taken from."""

    def __init__(self, release: Release, source: Sequence[Source] = get_args(Source)[::-1]) -> None:
        self.release, self.source = release, source
        self.templates = {
            track: parse_template(release.read_bytes(path), path)
            for track in TRAINED_TRACKS
            if (path := release.template(track))
        }
        self.annotations = {
            a: self._checked(a.path, *scan_annotation(release.read_bytes(a.path), TRACKS[a.track]))
            for a in release.annotations
        }
        self.mtl = {
            split: self._checked(path, *scan_mtl(release.read_bytes(path))) for split, path in release.mtl_lists.items()
        }

    def _checked(self, path: Path, table: Any, problems: list[Problem]) -> Any:
        if problems:
            raise problems[0].error(self.release.root / path)
        return table

    # --- label and template axes -------------------------------------------------------------------------

    def tracks(self) -> list[str]:
        """Tracks that this release has labels or a template for."""
        has_labels = {a.track for a in self.annotations} | ({"mtl"} if self.mtl else set())
        has_labels |= {"lsd"} if self.release.lsd_classes else set()
        return [track for track in TRAINED_TRACKS if track in has_labels or track in self.templates]

    def labels(self, track: str) -> pa.Table:
        """Label rows of a track, training then validation: split, video, base_video, frame, ordinal, image, labels."""
        if track == "mtl":
            parts = [self._mtl_rows(split, table) for split, table in sorted(self.mtl.items())]
        elif track == "lsd":
            parts = [
                p for split, classes in sorted(self.release.lsd_classes.items()) for p in self._lsd_rows(split, classes)
            ]
        else:
            parts = [self._video_rows(a, values) for a, values in sorted(self.annotations.items()) if a.track == track]
        if not parts:
            raise MienError(
                f"{self.release.root}: no labels of track {track}; remove it from params.yaml or complete the release"
            )
        return pa.concat_tables(parts)

    def _video_rows(self, annotation: Any, values: np.ndarray) -> pa.Table:
        """Label i of a per-video file is frame i, 1-based."""
        frames = np.arange(1, len(values) + 1, dtype=np.int32)
        images = [f"{annotation.video}/{frame:05d}.jpg" for frame in frames]
        task = TRACKS[annotation.track].tasks[0]
        return _label_rows(
            annotation.split, [annotation.video] * len(values), frames, frames - 1, images, {task: values}
        )

    def _mtl_rows(self, split: str, table: pa.Table) -> pa.Table:
        videos, frames = split_images(table["image"].combine_chunks())
        va = np.stack([table["valence"].to_numpy(), table["arousal"].to_numpy()], axis=1)
        aus = np.stack(table["aus"].to_numpy(zero_copy_only=False)) if len(table) else np.zeros((0, len(AUS)))
        labels = {"expression": table["expression"].to_numpy(), "aus": aus, "va": va}
        return _label_rows(split, videos.to_pylist(), frames, np.arange(len(table)), table["image"].to_pylist(), labels)

    def _lsd_rows(self, split: str, classes: dict[int, list[Path]]) -> Iterable[pa.Table]:
        for label, folders in sorted(classes.items()):
            for folder in folders:
                names = self.release.image_names(folder)
                frames = np.arange(1, len(names) + 1)
                yield _label_rows(
                    split,
                    [folder.as_posix()] * len(names),
                    frames,
                    frames - 1,
                    names,
                    {"expression": np.full(len(names), label)},
                )

    def template(self, track: str) -> pa.Table:
        """Rows of the official template in its order: video, base_video, frame, ordinal, image."""
        template = self.templates[track]
        images = template.images.to_pylist()
        if track == "lsd":
            videos, frames = self._lsd_test_places(images)
        else:
            columns = split_images(template.images)
            videos, frames = columns[0].to_pylist(), columns[1]
        return _label_rows("test", videos, frames, np.arange(len(images)), images, {})

    def _lsd_test_places(self, images: list[str]) -> tuple[list[str], np.ndarray]:
        folder = self.release.lsd_test
        names = {name: rank for rank, name in enumerate(self.release.image_names(folder), 1)} if folder else {}
        video = folder.as_posix() if folder else "lsd_test"
        return [video] * len(images), np.array([names.get(image, 0) for image in images], np.int32)

    def splits(self) -> pa.Table:
        """Which videos of which data set are for training, validation or test; no labels."""
        rows = set()
        for track in self.tracks():
            tables = [self.labels(track)] + ([self.template(track)] if track in self.templates else [])
            for table in tables:
                pairs = (
                    pa.table({"split": table["split"], "video": table["video"]})
                    .group_by(["split", "video"])
                    .aggregate([])
                )
                rows |= {
                    (TRACKS[track].dataset, video, split)
                    for split, video in zip(*pairs.to_pydict().values(), strict=True)
                }
        columns = zip(*sorted(rows), strict=True)
        return pa.table(dict(zip(("dataset", "video", "split"), map(list, columns), strict=True)))

    # --- media -------------------------------------------------------------------------------------------

    def media(self) -> list[MediaItem]:
        """Everything to look for faces in, sorted."""
        items = [*self._affwild2_items(), *self._mtl_items(), *self._lsd_items(), *self._extra_items()]
        return sorted(items)

    def _listed_frames(self) -> dict[str, int]:
        """Every video that EXPR, AU or VA names, with the last frame named."""
        last: dict[str, int] = {}
        for annotation, values in self.annotations.items():
            last[annotation.video] = max(last.get(annotation.video, 0), len(values))
        for track in VIDEO_TRACKS:
            if track in self.templates:
                videos, frames = split_images(self.templates[track].images)
                for video, frame in zip(videos.to_pylist(), frames.tolist(), strict=True):
                    last[video] = max(last.get(video, 0), frame)
        return last

    def _affwild2_items(self) -> Iterable[MediaItem]:
        for video, frames in self._listed_frames().items():
            source, paths = self._source_of(video)
            kind = "crops" if source.startswith("cropped") else "video"
            yield MediaItem("aff-wild2", video, base_video(video), side(video) or "", 0, 0, kind, paths, frames)

    def _source_of(self, video: str) -> tuple[str, tuple[str, ...]]:
        """The first of the wanted sources that a video has, and its paths; `none` where it has none of them."""
        raw = self.release.videos.get(base_video(video))
        held: dict[str, list[Path]] = {
            "video": [raw] if raw else [],
            "cropped": self.release.unaligned_crops.get(video, []),
            "cropped_aligned": self.release.crops.get(video, []),
        }
        taken = next((source for source in self.source if held[source]), "none")
        return taken, tuple(path.as_posix() for path in held.get(taken, []))

    def sources(self) -> dict[str, int]:
        """How many videos of Aff-Wild2 are taken from what."""
        return dict(sorted(Counter(self._source_of(video)[0] for video in self._listed_frames()).items()))

    def _mtl_items(self) -> Iterable[MediaItem]:
        tables = [(images, "train") for images in (t["image"].combine_chunks() for t in self.mtl.values())]
        if "mtl" in self.templates:
            tables.append((self.templates["mtl"].images, "test"))
        last: dict[str, int] = {}
        homes: dict[str, set[str]] = {}
        for images, split in tables:
            videos, frames = split_images(images)
            for video, frame in zip(videos.to_pylist(), frames.tolist(), strict=True):
                last[video] = max(last.get(video, 0), frame)
                homes.setdefault(video, set()).add(split)
        for video, count in last.items():
            roots = [r for split in sorted(homes[video]) for r in self.release.mtl_images.get(split, [])]  # type: ignore[call-overload]
            paths = tuple(dict.fromkeys((root / video).as_posix() for root in roots))
            yield MediaItem("s-aff-wild2", video, base_video(video), side(video) or "", 0, 0, "crops", paths, count)

    def _lsd_items(self) -> Iterable[MediaItem]:
        folders = [f for classes in self.release.lsd_classes.values() for paths in classes.values() for f in paths]
        for folder in folders + ([self.release.lsd_test] if self.release.lsd_test else []):
            yield from ranges("lsd", folder.as_posix(), "aligned", len(self.release.image_names(folder)))

    def _extra_items(self) -> Iterable[MediaItem]:
        folders: dict[str, int] = {}
        for path in self.release.unlabelled:
            if is_video(path.name):
                yield MediaItem("extra", path.as_posix(), path.as_posix(), "", 0, 0, "video", (path.as_posix(),), 0)
            else:
                folder = parent(path.as_posix())
                folders[folder] = folders.get(folder, 0) + 1
        for folder, count in folders.items():
            yield from ranges("extra", folder, "pictures", count)


def ranges(dataset: str, folder: str, kind: str, count: int, video: str = "") -> Iterable[MediaItem]:
    """A folder of pictures in items of at most `PICTURES_PER_ITEM`; `video` names them where the folder does not."""
    for first in range(0, count, PICTURES_PER_ITEM):
        size = min(PICTURES_PER_ITEM, count - first)
        yield MediaItem(dataset, video or folder, video or folder, "", first, size, kind, (folder,), count)


def _label_rows(
    split: str,
    videos: list[str],
    frames: np.ndarray,
    ordinals: np.ndarray,
    images: list[str],
    labels: dict[str, np.ndarray],
) -> pa.Table:
    columns: dict[str, pa.Array] = {
        "split": pa.array([split] * len(videos), pa.string()),
        "video": pa.array(videos, pa.string()),
        "base_video": pa.array([base_video(video) for video in videos], pa.string()),
        "frame": pa.array(np.asarray(frames), pa.int32()),
        "ordinal": pa.array(np.asarray(ordinals), pa.int32()),
        "image": pa.array(images, pa.string()),
    }
    for task, values in labels.items():
        columns[task] = _label_array(task, values)
    return pa.table(columns)


def _label_array(task: str, values: np.ndarray) -> pa.Array:
    kind = LABEL_TYPES[task]
    if not pa.types.is_fixed_size_list(kind):
        return pa.array(np.asarray(values).reshape(-1).astype(np.int8))
    flat = np.ascontiguousarray(values, dtype=kind.value_type.to_pandas_dtype()).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), kind.list_size)


def media_table(items: list[MediaItem]) -> pa.Table:
    """Media items as a table of `MEDIA_SCHEMA`."""
    return pa.Table.from_pylist([asdict(item) for item in items], schema=MEDIA_SCHEMA)


def media_items(table: pa.Table) -> list[MediaItem]:
    """Inverse of `media_table`."""
    return [MediaItem(**{**row, "paths": tuple(row["paths"])}) for row in table.to_pylist()]


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
