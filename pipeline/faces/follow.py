"""Which face of a frame is the annotated person: continuity for one person, sides for two in one recording."""

from collections.abc import Sequence

import numpy as np

from pipeline.faces.detections import Detections, overlap


def _offset(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Distance of the centres in units of the box's own width."""
    centre = (box[:2] + box[2:]) / 2
    return np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - centre, axis=1) / max(box[2] - box[0], 1.0)


def closeness(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """How well each of boxes (N, 4) continues `box` (4,): above -1 where they overlap or lie within one face width."""
    return overlap(box, boxes) - _offset(box, boxes)


class Track:
    """One face followed from frame to frame.

    A face continues the track when it overlaps the last box or its centre lies within one face width of it. The track
    is lost after `max_gap_frames` without one; one that was seen for fewer frames than that is lost as soon, so that
    one false detection does not hide the person who comes next.
    """

    def __init__(self, box: np.ndarray, max_gap_frames: int) -> None:
        self.box, self.max_gap_frames = box, max_gap_frames
        self.gap, self.seen = 0, 1

    @property
    def lost(self) -> bool:
        """Whether it has been without a face for too long."""
        return self.gap >= min(self.max_gap_frames, self.seen)

    def go_on(self, box: np.ndarray | None) -> None:
        """The next frame has this box, or none."""
        if box is None:
            self.gap += 1
        else:
            self.box, self.gap, self.seen = box, 0, self.seen + 1


def continued(tracks: Sequence[Track], faces: Detections) -> dict[int, int]:
    """Which face continues which track, by their indices: the closest pair first, each track and each face once."""
    if not tracks or not len(faces):
        return {}
    close = np.stack([closeness(track.box, faces.boxes) for track in tracks])
    pairs: dict[int, int] = {}
    for place in np.argsort(-close, axis=None, kind="stable"):
        track, face = divmod(int(place), len(faces))
        if close[track, face] <= -1:
            break
        if track not in pairs and face not in pairs.values():
            pairs[track] = face
    return pairs


def _strongest(faces: Detections) -> np.ndarray:
    """Indices of the faces, the largest and surest first."""
    area = np.prod(faces.boxes[:, 2:] - faces.boxes[:, :2], axis=1)
    return np.argsort(-area * faces.scores, kind="stable")


class Follower:
    """Follows one person through a video; where the track is lost, the largest face starts another."""

    def __init__(self, max_gap_frames: int) -> None:
        self.max_gap_frames = max_gap_frames
        self.track: Track | None = None

    @property
    def followed(self) -> list[Track]:
        """The track that is held, if any."""
        return [self.track] if self.track else []

    def choose(self, faces: Detections) -> int | None:
        """Index of the followed face among `faces`, or None."""
        chosen = continued([self.track], faces).get(0) if self.track else None
        if chosen is None and (self.track is None or self.track.lost):
            self.track = None
            if len(faces):
                chosen = int(_strongest(faces)[0])
                self.track = Track(faces.boxes[chosen], self.max_gap_frames)
        elif self.track:
            self.track.go_on(None if chosen is None else faces.boxes[chosen])
        return chosen


class SideFollower:
    """Follows the left and the right person of one recording, as the official names `_left` and `_right` say.

    Each person is followed as one alone is, so that a larger passer-by takes nobody's place. Where neither is followed,
    the two strongest faces are told apart by their position, and a single one by the half of the picture it lies in;
    where one is, the other is the strongest face on the other side of it.
    """

    def __init__(self, width: int, max_gap_frames: int) -> None:
        self.width, self.max_gap_frames = width, max_gap_frames
        self.tracks: dict[str, Track] = {}

    @property
    def followed(self) -> list[Track]:
        """The tracks that are held, of two at most."""
        return list(self.tracks.values())

    def choose(self, faces: Detections) -> dict[str, int | None]:
        """Indices of the left and the right person's face, None where a person has none."""
        sides = list(self.tracks)
        pairs = continued([self.tracks[side] for side in sides], faces)
        chosen: dict[str, int | None] = {"left": None, "right": None}
        chosen |= {sides[track]: face for track, face in pairs.items()}
        for side in sides:
            face = chosen[side]
            if face is None and self.tracks[side].lost:
                del self.tracks[side]
            else:
                self.tracks[side].go_on(None if face is None else faces.boxes[face])
        started = self._started(faces, set(pairs.values()))
        self.tracks |= {side: Track(faces.boxes[face], self.max_gap_frames) for side, face in started.items()}
        return chosen | started

    def _started(self, faces: Detections, taken: set[int]) -> dict[str, int]:
        """The face of each side that nobody is followed on, among those that continue no track."""
        free = [int(face) for face in _strongest(faces) if face not in taken]
        middle = faces.boxes[:, ::2].mean(axis=1)
        if not self.tracks and len(free) > 1:
            left, right = sorted(free[:2], key=lambda face: middle[face])
            return {"left": left, "right": right}
        border = next((track.box[::2].mean() for track in self.tracks.values()), self.width / 2)
        by_side = {"left": [f for f in free if middle[f] < border], "right": [f for f in free if middle[f] >= border]}
        return {side: found[0] for side, found in by_side.items() if found and side not in self.tracks}
