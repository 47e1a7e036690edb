"""The naming grammar of Aff-Wild2 videos and frames, and which names may become paths at all."""

import re
from typing import Literal

# Matches all 594 official names: 122, 122-60-1920x1080-3, 130-25-1280x720_left, video10_1_right.
VIDEO_NAME = re.compile(
    r"([0-9]+-[0-9]+-[0-9]+x[0-9]+(-[0-9]+)?|[0-9]+|video[0-9]+(_[0-9]+)?)(_left|_right)?", re.ASCII
)
MAX_FRAME = 1_000_000  # nine hours at 30 frames a second; the longest official video has 47,000
MAX_PART_BYTES, MAX_PARTS = 255, 32  # what file systems take, and what no release comes near
FRAME_NAME = re.compile(r"([0-9]{5,})\.jpg", re.ASCII)


def is_video_name(name: str) -> bool:
    """Whether `name` is, as a whole, a name of the official grammar (names are prefixes of each other)."""
    return VIDEO_NAME.fullmatch(name) is not None


def side(name: str) -> Literal["left", "right"] | None:
    """Which of two annotated people in one raw video `name` stands for; None when the video has one."""
    if name.endswith("_left"):
        return "left"
    return "right" if name.endswith("_right") else None


def base_video(name: str) -> str:
    """The raw video's name: `name` without `_left` or `_right`. Folds are grouped by it."""
    return name.removesuffix("_left").removesuffix("_right")


def frame_name(frame: int) -> str:
    """File name of the 1-based `frame`."""
    return f"{frame:05d}.jpg"


def frame_number(name: str) -> int | None:
    """1-based frame number of a file name such as `00001.jpg`; None when it is not a frame's name."""
    match = FRAME_NAME.fullmatch(name)
    return int(match.group(1)) if match and int(match.group(1)) > 0 else None


def unsafe(name: str) -> str | None:
    """Why a name that came from outside must not become a path below a folder; None where it may.

    Every name of a list, an archive, a pack or a command is asked here, once, where it enters.
    """
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name:
        return "is no relative path"
    if any(part in ("", ".", "..") for part in parts):
        return "leads out of its folder"
    if not name.isprintable():
        return "has characters that cannot be printed"
    if len(parts) > MAX_PARTS or any(len(part.encode("utf-8", "surrogatepass")) > MAX_PART_BYTES for part in parts):
        return "is too long or too deep"
    return None
