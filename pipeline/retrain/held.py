"""What a release holds, by the names of its files: recordings, label files, and where more of them belong."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from pipeline.abaw.names import base_video, is_video_name
from pipeline.core.files import is_video
from pipeline.release.discover import CHALLENGE, COMPOUND, CROPS, SPLIT, UNLABELLED

Split = Literal["train", "validation"]
SPLIT_FOLDERS: dict[Split, str] = {"train": "Train_Set", "validation": "Validation_Set"}
VIDEOS = "videos"


@dataclass
class Held:
    """`files`: md5 of each path; `videos`: path of each recording; `cropped`: recordings of which crops lie there;
    `labels`: path of the label file of (track, split, video).
    """

    files: Mapping[str, str]
    videos: dict[str, str] = field(default_factory=dict)
    cropped: set[str] = field(default_factory=set)
    labels: dict[tuple[str, Split, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Mapping[str, str]) -> "Held":
        """Of a listing: md5 by path below the root."""
        held = cls(files)
        for name in sorted(files):
            path = PurePosixPath(name)
            folders = path.parts[:-1]
            if place := label_place(path):
                held.labels[*place, path.stem] = name
            elif is_video(path.name) and is_video_name(path.stem) and not _is_apart(path):
                held.videos.setdefault(base_video(path.stem), name)
            held.cropped |= {inner for outer, inner in itertools.pairwise(folders) if CROPS.fullmatch(outer)}
        return held

    def recording(self, md5: str) -> str | None:
        """Path of the recording with these bytes."""
        return next((path for path in self.videos.values() if self.files[path] == md5), None)

    def has(self, video: str) -> bool:
        """Whether there is a recording, or crops, of a video."""
        return base_video(video) in self.videos or video in self.cropped

    def split_of(self, track: str, video: str) -> Split | None:
        """The split in which a track has the recording of a video, of either person."""
        base = base_video(video)
        return next((split for name, split, other in self.labels if name == track and base_video(other) == base), None)

    def label_target(self, track: str, split: Split, video: str) -> str:
        """Where a label file belongs: beside the others of its track and split."""
        for (name, other, _), path in self.labels.items():
            if (name, other) == (track, split):
                return PurePosixPath(path).with_name(f"{video}.txt").as_posix()
        return f"annotations/{track.upper()}_Set/{SPLIT_FOLDERS[split]}/{video}.txt"


def label_place(path: PurePosixPath) -> tuple[str, Split] | None:
    """Track and split of a per-video label file by its two folders; None when it lies elsewhere."""
    if len(path.parts) < 3 or path.suffix != ".txt":
        return None
    challenge, split = CHALLENGE.fullmatch(path.parts[-3]), SPLIT.fullmatch(path.parts[-2])
    if not challenge or not split:
        return None
    return challenge[1].lower(), "train" if split[1].lower() == "train" else "validation"


def _is_apart(path: PurePosixPath) -> bool:
    """Whether a video belongs to the pool or to the compound expressions."""
    pool = any(UNLABELLED.fullmatch(part) for part in path.parts[:-1])
    return pool or COMPOUND.search(path.parent.as_posix()) is not None
