"""The files to predict, and the faces in them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.abaw.names import MAX_FRAME, frame_number
from pipeline.core.errors import MienError
from pipeline.core.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_image, is_video
from pipeline.faces.detector import DetectAlign, load_detector, verified_digest
from pipeline.faces.extract import Face, cut_face
from pipeline.faces.follow import Follower
from pipeline.faces.media import Frame, UnreadableMedia, decode_image, read_frames, stated_frames
from pipeline.run.progress import Progress


@dataclass(frozen=True)
class Seen:
    """One row to predict: where it is from and its face, if any.

    `seconds` is None where nobody knows the rate; a frame that could not be decoded is `lost`.
    """

    source: Path
    frame: int
    seconds: float | None
    number: int
    face: Face | None
    lost: bool = False


def find_media(source: Path) -> list[Path]:
    """The picture or video itself, or all below a folder, sorted."""
    if not source.exists():
        raise MienError(f"{source}: no such file or folder", exit_code=2)
    inside = sorted(source.rglob("*")) if source.is_dir() else [source]
    found = [path for path in inside if (is_image(path.name) or is_video(path.name)) and path.is_file()]
    if not found:
        known = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
        what = "no picture or video in this folder" if source.is_dir() else "not a picture or video"
        raise MienError(f"{source}: {what} ({', '.join(sorted(known))})", exit_code=2)
    taken = set(found)
    others = [path for path in inside if path.is_file() and path not in taken]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        print(f"passed over, no pictures or videos: {others[0]}{more}", file=sys.stderr)
    return found


class Finder:
    """Finds the faces of pictures and videos with the detector that the pipeline was trained with."""

    def __init__(self, params: DetectAlign) -> None:
        verified_digest(params)
        self.params = params
        self.detector = load_detector(self.params)

    def faces(self, source: Path) -> Iterator[Seen]:
        """All rows of one file."""
        if is_video(source.name):
            yield from self._video(source)
        else:
            yield from self._picture(source)

    def _video(self, source: Path) -> Iterator[Seen]:
        follower = Follower(self.params.max_gap_frames)
        for frame in _watched_frames(source):
            face = None
            if frame.image is not None:
                found = self.detector.detect(frame.image)
                chosen = follower.choose(found)
                face = None if chosen is None else cut_face(frame.image, found, chosen, self.params)
            yield Seen(source, frame.number, frame.seconds, 0, face, lost=frame.image is None)

    def _picture(self, source: Path) -> Iterator[Seen]:
        image = decode_image(source.read_bytes())
        found = self.detector.detect(image)
        for number in np.argsort(found.boxes[:, 0], kind="stable"):
            yield Seen(source, 1, 0.0, int(number), cut_face(image, found, int(number), self.params))
        if not len(found):
            yield Seen(source, 1, 0.0, 0, None)


def _watched_frames(source: Path) -> Iterator[Frame]:
    """The frames of a video, with a bar or, every half minute, a line that tells how far it is."""
    with Progress(source.name, stated_frames(source), "frames", brief=True) as progress:
        for frame in read_frames(source):
            yield frame
            progress.advance()


class ReadyCrops:
    """Aligned crops taken as they are; a folder whose pictures are named by frame (`00001.jpg`) is one video."""

    @staticmethod
    def sources(source: Path) -> list[Path]:
        """Folders of frames, and single pictures, sorted."""
        pictures = [path for path in find_media(source) if is_image(path.name)]
        if not pictures:
            raise MienError(f"{source}: no picture in it; --crops takes pictures of faces alone", exit_code=2)
        return sorted({path.parent if _is_frame(path) else path for path in pictures})

    def faces(self, source: Path) -> Iterator[Seen]:
        """All rows of one folder of frames or of one picture; one that cannot be decoded has no face."""
        if not source.is_dir():
            yield Seen(source, 1, None, 0, _ready_face(source))
            return
        frames = {frame_number(path.name) or 0: path for path in source.iterdir() if _is_frame(path)}
        for frame in range(1, max(frames) + 1):
            face = _ready_face(frames[frame]) if frame in frames else None
            yield Seen(source, frame, None, 0, face)


def _is_frame(path: Path) -> bool:
    return 0 < (frame_number(path.name) or 0) <= MAX_FRAME


def _ready_face(path: Path) -> Face | None:
    data = path.read_bytes()
    try:
        decode_image(data)
    except UnreadableMedia as error:
        print(f"{path}: {error}", file=sys.stderr)
        return None
    return Face(data, 1.0, np.zeros(4, np.float32), np.zeros((5, 2), np.float32))
