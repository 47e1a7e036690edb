"""What a file of an inbox or a release is, by its name and its folders: the patterns are those of discovery."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from pipeline.core.suffixes import is_image, is_video
from pipeline.release.discover import (
    CHALLENGE,
    COMPOUND,
    CROPS,
    LSD_CLASSES,
    LSD_FOLDER,
    LSD_TEST,
    MTL_LIST,
    SPLIT,
    TEMPLATE,
    UNLABELLED,
)

Split = Literal["train", "validation"]
PLAIN_CROPS = "crops"  # an inbox may call them so; in a release they are `cropped_aligned`


@dataclass(frozen=True)
class Crop:
    """An organisers' crop: the folder of all crops that it lies in, its video and its file's name."""

    root: str
    video: str
    name: str

    @property
    def aligned(self) -> bool:
        """Whether it is of `cropped_aligned`, and not of the wider `cropped`."""
        last = self.root.rpartition("/")[2].lower()
        return "aligned" in last or last == PLAIN_CROPS


@dataclass(frozen=True)
class Pictured:
    """A picture of the LSD track: its split folder's name, its split, its class folder's name and its own name."""

    folder: str
    split: Split
    label: str
    name: str


def split_of(word: str) -> Split:
    """The split that a folder's or a list's name begins with."""
    return "train" if word.lower() == "train" else "validation"


def label_place(path: PurePosixPath) -> tuple[str, Split] | None:
    """Track and split of a per-video label file by its two folders; None when it lies elsewhere."""
    if len(path.parts) < 3 or path.suffix != ".txt":
        return None
    challenge, split = CHALLENGE.fullmatch(path.parts[-3]), SPLIT.fullmatch(path.parts[-2])
    if not challenge or not split:
        return None
    return challenge[1].lower(), split_of(split[1])


def crop_of(path: PurePosixPath) -> Crop | None:
    """The crop that a path names: a picture two folders below `cropped_aligned`, `cropped` or `crops`."""
    if len(path.parts) < 3 or not is_image(path.name) or pool_path(path):
        return None
    root, video = path.parts[-3], path.parts[-2]
    if not (CROPS.fullmatch(root) or root.lower() == PLAIN_CROPS) or CROPS.fullmatch(video):
        return None
    return Crop("/".join(path.parts[:-2]), video, path.name)


def lsd_of(path: PurePosixPath) -> Pictured | None:
    """The LSD picture that a path names: `training_set_synthetic_images/ANGER/1.jpg`."""
    if len(path.parts) < 3 or not is_image(path.name):
        return None
    split, label = LSD_FOLDER.fullmatch(path.parts[-3]), path.parts[-2].upper()
    if not split or label not in LSD_CLASSES:
        return None
    return Pictured(path.parts[-3], split_of(split[1]), label, path.name)


def pool_path(path: PurePosixPath) -> str | None:
    """The path of a picture or video of the pool below the pool's own folder; None when it is none."""
    inner = [depth for depth, part in enumerate(path.parts[:-1]) if UNLABELLED.fullmatch(part)]
    if not inner or not (is_image(path.name) or is_video(path.name)):
        return None
    return "/".join(path.parts[inner[-1] + 1 :])


def list_split(path: PurePosixPath) -> Split | None:
    """The split of an MTL list by its name; None when it is none."""
    match = MTL_LIST.fullmatch(path.name)
    return split_of(match[1]) if match else None


def is_test(path: PurePosixPath) -> bool:
    """Whether a file belongs to a test set: a template, a list of test videos, or a test picture of LSD."""
    if path.suffix.lower() in (".txt", ".csv"):
        return TEMPLATE.search(path.as_posix()) is not None
    return is_image(path.name) and any(LSD_TEST.search(part) for part in path.parts[:-1]) and not lsd_of(path)


def is_compound(path: PurePosixPath) -> bool:
    """Whether a video is one of the compound expressions."""
    return COMPOUND.search(path.parent.as_posix()) is not None
