"""What a release holds, by the names of its files: recordings, labels, pictures, and where more of them belong."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pipeline.abaw.names import base_video, is_video_name
from pipeline.core.suffixes import is_video
from pipeline.release.discover import CROPS, LSD_CLASSES, UNLABELLED
from pipeline.release.pack import MARK
from pipeline.retrain.kinds import (
    Crop,
    Pictured,
    Split,
    crop_of,
    is_compound,
    is_test,
    label_place,
    list_split,
    lsd_of,
    pool_path,
)

SPLIT_FOLDERS: dict[Split, str] = {"train": "Train_Set", "validation": "Validation_Set"}
VIDEOS = "videos"
POOL = "unlabelled"
MTL = "mtl"  # where lists and crops of MTL go in a release that has none yet


@dataclass
class Held:
    """`files`: md5 of each path; `videos`: path of each recording; `cropped`: recordings of which crops lie there;
    `labels`: path of the label file of (track, split, video); `lists`: path of each split's MTL list.

    `crop_roots`: the folders that hold folders of crops; `lsd`: path of the folder of (split, class); `lsd_pictures`:
    paths of its pictures by md5; `pool`: the folder of the pool, and `tests` the files of test sets.
    """

    files: Mapping[str, str]
    videos: dict[str, str] = field(default_factory=dict)
    cropped: set[str] = field(default_factory=set)
    labels: dict[tuple[str, Split, str], str] = field(default_factory=dict)
    lists: dict[Split, str] = field(default_factory=dict)
    crop_roots: set[str] = field(default_factory=set)
    lsd: dict[tuple[Split, int], str] = field(default_factory=dict)
    lsd_pictures: dict[str, str] = field(default_factory=dict)
    pool: str = POOL
    tests: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, files: Mapping[str, str]) -> "Held":
        """Of a listing: md5 by path below the root."""
        held = cls(files)
        for name in sorted(files):
            held._add(name, PurePosixPath(name))
        return held

    def _add(self, name: str, path: PurePosixPath) -> None:
        if place := label_place(path):
            self.labels[*place, path.stem] = name
        elif pool_path(path):
            depth = next(i for i, part in enumerate(path.parts) if UNLABELLED.fullmatch(part))
            self.pool = "/".join(path.parts[: depth + 1])
        elif is_video(path.name) and is_video_name(path.stem) and not is_compound(path):
            self.videos.setdefault(base_video(path.stem), name)
        elif picture := lsd_of(path):
            self.lsd.setdefault((picture.split, LSD_CLASSES[picture.label]), path.parent.as_posix())
            self.lsd_pictures[self.files[name]] = name
        elif split := list_split(path):
            self.lists.setdefault(split, name)
        elif is_test(path):
            self.tests.append(name)
        if crop := crop_of(path):
            self.crop_roots.add(crop.root)
        self.cropped |= {inner for outer, inner in itertools.pairwise(path.parts[:-1]) if CROPS.fullmatch(outer)}

    @property
    def is_pack(self) -> bool:
        """Whether the release is an imported pack, whose pictures lie in shards."""
        return MARK in self.files

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

    def labels_of(self, video: str) -> list[tuple[str, str]]:
        """Track and path of each label file of a recording, of either person."""
        base = base_video(video)
        return [(track, path) for (track, _, other), path in self.labels.items() if base_video(other) == base]

    def label_target(self, track: str, split: Split, video: str) -> str:
        """Where a label file belongs: beside the others of its track and split."""
        for (name, other, _), path in self.labels.items():
            if (name, other) == (track, split):
                return PurePosixPath(path).with_name(f"{video}.txt").as_posix()
        return f"annotations/{track.upper()}_Set/{SPLIT_FOLDERS[split]}/{video}.txt"

    def list_target(self, split: Split) -> str:
        """Where the MTL list of a split belongs: where it is, else beside the other split's."""
        word = "training" if split == "train" else "validation"
        home = next((PurePosixPath(path).parent for path in self.lists.values()), PurePosixPath(MTL))
        return self.lists.get(split) or (home / f"{word}_set_annotations.txt").as_posix()

    def crop_target(self, crop: Crop, for_mtl: bool) -> str:
        """Where a crop belongs: with the crops of MTL or of Aff-Wild2, aligned or not, as the release has them."""
        homes = self._mtl_homes()
        mine = [root for root in sorted(self.crop_roots) if for_mtl == _is_below(root, homes)]
        if for_mtl and self.lists and not homes:  # the lists lie among the annotations: both share their crops
            mine = sorted(self.crop_roots)
        same = [root for root in mine if Crop(root, "", "").aligned == crop.aligned and "test" not in root]
        plain = "cropped_aligned" if crop.aligned else "cropped"
        home = f"{min(homes, default=MTL)}/" if for_mtl else ""
        return f"{same[0] if same else home + plain}/{crop.video}/{crop.name}"

    def _mtl_homes(self) -> set[str]:
        """The folders of the MTL lists in which no per-video label file lies: what is below them is MTL's."""
        homes = {PurePosixPath(path).parent.as_posix() for path in self.lists.values()}
        return {home for home in homes if not any(_is_below(path, {home}) for path in self.labels.values())}

    def lsd_target(self, picture: Pictured) -> str:
        """Where an LSD picture belongs: with the others of its split and class, by its own split folder's name."""
        held = self.lsd.get((picture.split, LSD_CLASSES[picture.label]))
        if held and PurePosixPath(held).parent.name == picture.folder:
            return f"{held}/{picture.name}"
        beside = next((PurePosixPath(path).parent.parent for path in self.lsd.values()), PurePosixPath("lsd"))
        return (beside / picture.folder / picture.label / picture.name).as_posix()

    def of_recording(self, video: str) -> Iterator[str]:
        """Places of a recording's files: video, label files and crops; of a side (`122_left`) its own alone."""
        whole, named = base_video(video) == video, {*self.videos.values(), *self.labels.values()}
        for name in self.files:
            path = PurePosixPath(name)
            crop = crop_of(path)
            own = crop.video if crop else path.stem if name in named else ""
            if own and video in (own, base_video(own) if whole else own):
                yield name


def _is_below(path: str, folders: set[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(folder) for folder in folders)
