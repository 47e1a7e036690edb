"""The files to predict, and the faces in them."""

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.abaw.names import MAX_FRAME, frame_number
from pipeline.core.errors import MienError
from pipeline.core.pictures import UnreadableMedia, decode_image, orientation
from pipeline.core.suffixes import is_image, is_video, why_unread
from pipeline.faces.detections import Detections
from pipeline.faces.detector import DetectAlign, load_detector, verified_digest
from pipeline.faces.extract import Face, cut_face
from pipeline.faces.follow import Follower
from pipeline.faces.keyframes import KeyframeDetector
from pipeline.faces.media import Frame, read_frames, stated_frames
from pipeline.predict.people import People
from pipeline.release.files import is_shown
from pipeline.run.progress import Progress

NAMED = 3  # files that a line names before it counts the others


@dataclass(frozen=True)
class Seen:
    """One row to predict: where it is from and its face, if any.

    `seconds` is None where nobody knows the rate; a frame that could not be decoded is `lost`. `person` numbers the
    people of a video, None where they are not told apart.
    """

    source: Path
    frame: int
    seconds: float | None
    number: int
    face: Face | None
    lost: bool = False
    person: int | None = None


@dataclass(frozen=True)
class Listing:
    """What of a folder is used, sorted, and each other file of it with the reason why it is not."""

    used: list[Path]
    unused: Mapping[Path, str]

    def passed_over(self) -> list[str]:
        """A line a reason: how many files, and the first of them by name."""
        by_reason: dict[str, list[Path]] = {}
        for path, reason in self.unused.items():
            by_reason.setdefault(reason, []).append(path)
        return [
            f"passed over, {reason}: {_counted(len(paths))}, {', '.join(_shown(path) for path in paths[:NAMED])}"
            + (" and others" if len(paths) > NAMED else "")
            for reason, paths in by_reason.items()
        ]


def _shown(path: Path) -> str:
    """A path for a terminal: what it cannot print is escaped."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def _counted(files: int) -> str:
    return f"{files} file{'s' * (files > 1)}"


def find_media(source: Path) -> Listing:
    """The picture or video itself, or all below a folder; `MienError` where there is none."""
    if not source.exists():
        raise MienError(f"{source}: no such file or folder", exit_code=2)
    if not source.is_dir():
        if why := why_unused(source):
            raise MienError(f"{source}: {why}", exit_code=2)
        return Listing([source], {})
    reasons = {path: _hidden(path, source) or why_unused(path) for path in sorted(source.rglob("*")) if path.is_file()}
    used = [path for path, reason in reasons.items() if not reason]
    if not used:
        raise MienError(f"{source}: no picture or video in it; `mien predict --help` names the suffixes", exit_code=2)
    return Listing(used, {path: reason for path, reason in reasons.items() if reason})


def _hidden(path: Path, source: Path) -> str:
    """Why a file that an operating system keeps for itself is not used: `._x.jpg` is no picture, though called so."""
    return "" if all(is_shown(part) for part in path.relative_to(source).parts) else "hidden"


def why_unused(path: Path) -> str:
    """Why a file is not predicted, by its name; "" for one that is."""
    if not path.name.isprintable():  # not UTF-8, or able to fool a terminal
        return "its name has characters that cannot be printed; rename it"
    known = is_image(path.name) or is_video(path.name)
    return "" if known else why_unread(path.name) or "not a picture or video by its suffix"


class Finder:
    """Finds the faces of pictures and videos with the detector that the pipeline was trained with.

    `people`: every face of a video is followed, and not one alone, so every frame is looked at as a whole; `progress`
    shows on standard error how far it is.
    """

    def __init__(self, params: DetectAlign, *, people: bool = False, progress: bool = False) -> None:
        verified_digest(params)
        self.params, self.people, self.progress = params, people, progress
        self.detector = load_detector(self.params)

    def faces(self, source: Path) -> Iterator[Seen]:
        """All rows of one file."""
        if not is_video(source.name):
            yield from self.picture(decode_image(source.read_bytes()), source)
            return
        frames = _watched_frames(source) if self.progress else read_frames(source)
        start = list(itertools.islice(frames, 2))
        if len(start) == 1 and start[0].image is not None:  # a GIF that does not move is a picture
            yield from self.picture(start[0].image, source)
        else:
            yield from itertools.chain.from_iterable(self.moving(itertools.chain(start, frames), source))

    def moving(self, frames: Iterable[Frame], source: Path) -> Iterator[list[Seen]]:
        """The rows of each of the frames that follow each other, as soon as it is there."""
        return (self._everybody if self.people else self._followed)(frames, source)

    def _followed(self, frames: Iterable[Frame], source: Path) -> Iterator[list[Seen]]:
        follower = Follower(self.params.max_gap_frames)
        keyframes = KeyframeDetector(self.detector, self.params.every)
        for frame in frames:
            face = None
            if frame.image is not None:
                found = keyframes.detect(frame.number, frame.image, follower.followed)
                chosen = follower.choose(found)
                face = None if chosen is None else cut_face(frame.image, found, chosen, self.params)
            yield [Seen(source, frame.number, frame.seconds, 0, face, lost=frame.image is None)]

    def _everybody(self, frames: Iterable[Frame], source: Path) -> Iterator[list[Seen]]:
        people = People(self.params.max_gap_frames)
        for frame in frames:
            found = Detections.none() if frame.image is None else self.detector.detect(frame.image)
            persons = people.number(found)
            if frame.image is None or not persons:
                yield [Seen(source, frame.number, frame.seconds, 0, None, lost=frame.image is None)]
                continue
            faces = {person: cut_face(frame.image, found, number, self.params) for person, number in persons.items()}
            yield [
                Seen(source, frame.number, frame.seconds, persons[person], face, person=person)
                for person, face in faces.items()
            ]

    def picture(self, image: np.ndarray, source: Path) -> Iterator[Seen]:
        """All faces of a decoded BGR picture (H, W, 3), from left to right; a row without one where there is none."""
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
    def sources(source: Path) -> Listing:
        """Folders of frames, and single pictures."""
        media = find_media(source)
        pictures = [path for path in media.used if is_image(path.name)]
        if not pictures:
            raise MienError(f"{source}: no picture in it; --crops takes pictures of faces alone", exit_code=2)
        videos = {path: "--crops takes pictures alone" for path in media.used if not is_image(path.name)}
        used = sorted({path.parent if _is_frame(path) else path for path in pictures})
        return Listing(used, {**media.unused, **videos})

    def faces(self, source: Path) -> Iterator[Seen]:
        """All rows of one folder of frames or of one picture; one that cannot be decoded has no face."""
        if not source.is_dir():
            yield Seen(source, 1, None, 0, _read_face(source))
            return
        frames = {frame_number(path.name) or 0: path for path in source.iterdir() if _is_frame(path)}
        for frame in range(1, max(frames) + 1):
            face = _read_face(frames[frame]) if frame in frames else None
            yield Seen(source, frame, None, 0, face)

    def picture(self, image: np.ndarray, source: Path) -> Iterator[Seen]:
        """A decoded BGR picture (H, W, 3) as the face that it is."""
        yield Seen(source, 1, None, 0, ready_face(image))


def ready_face(image: np.ndarray) -> Face:
    """A BGR picture (H, W, 3) of an aligned face as one that has lost nothing: PNG."""
    return _as_it_is(cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes())


def _as_it_is(data: bytes) -> Face:
    return Face(data, 1.0, np.zeros(4, np.float32), np.zeros((5, 2), np.float32))


def _is_frame(path: Path) -> bool:
    return 0 < (frame_number(path.name) or 0) <= MAX_FRAME


def _read_face(path: Path) -> Face | None:
    """A picture's bytes as they are, or as they are shown where EXIF turns them."""
    data = path.read_bytes()
    try:
        image = decode_image(data)
    except UnreadableMedia as error:
        print(f"{path}: {error}", file=sys.stderr)
        return None
    if orientation(data) != 1:
        return ready_face(image)
    return _as_it_is(data)
