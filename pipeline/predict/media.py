"""The files to predict, and the faces in them."""

import sys
from collections.abc import Iterator, Mapping
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
from pipeline.release.files import is_shown
from pipeline.run.progress import Progress

KNOWN = ", ".join(sorted((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)))
UNDECODED = (".heic", ".heif")  # tiles that neither OpenCV nor PyAV puts together


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
    """The picture or video itself, or all below a folder, sorted. What of a folder is not used is told, once a reason.

    `MienError` where there is none.
    """
    if not source.exists():
        raise MienError(f"{source}: no such file or folder", exit_code=2)
    if not source.is_dir():
        if why := why_unused(source):
            raise MienError(f"{source}: {why}", exit_code=2)
        return [source]
    reasons = {path: _hidden(path, source) or why_unused(path) for path in sorted(source.rglob("*")) if path.is_file()}
    tell_passed_over(reasons)
    found = [path for path, reason in reasons.items() if not reason]
    if not found:
        raise MienError(f"{source}: no picture or video in this folder ({KNOWN})", exit_code=2)
    return found


def _hidden(path: Path, source: Path) -> str:
    """Why a file that an operating system keeps for itself is not used: `._x.jpg` is no picture, though called so."""
    return "" if all(is_shown(part) for part in path.relative_to(source).parts) else "hidden"


def why_unused(path: Path) -> str:
    """Why a file is not predicted, by its name; "" for one that is."""
    if path.suffix.lower() in UNDECODED:
        return "no decoder of HEIC is at hand; save it as JPEG or PNG"
    return "" if is_image(path.name) or is_video(path.name) else f"not a picture or video ({KNOWN})"


def tell_passed_over(reasons: Mapping[Path, str]) -> None:
    """On standard error a line a reason: its first file and how many more; files without a reason are used."""
    by_reason: dict[str, list[Path]] = {}
    for path, reason in reasons.items():
        if reason:
            by_reason.setdefault(reason, []).append(path)
    for reason, (first, *more) in by_reason.items():
        print(f"passed over, {reason}: {first}" + (f" and {len(more)} more" if more else ""), file=sys.stderr)


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
        media = find_media(source)
        pictures = [path for path in media if is_image(path.name)]
        if not pictures:
            raise MienError(f"{source}: no picture in it; --crops takes pictures of faces alone", exit_code=2)
        tell_passed_over({path: "--crops takes pictures alone" for path in media if path not in set(pictures)})
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
