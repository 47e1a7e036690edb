"""Which face of a frame is the annotated person: continuity for one person, sides for two in one recording."""

import numpy as np

from pipeline.faces.detections import Detections, overlap


def _offset(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Distance of the centres in units of the box's own width."""
    centre = (box[:2] + box[2:]) / 2
    return np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - centre, axis=1) / max(box[2] - box[0], 1.0)


class Follower:
    """Follows one person through a video.

    A face continues the track when it overlaps the last box or its centre lies within one face width of it. After
    `max_gap_frames` without one, the largest face starts the track again; a track that was seen for fewer frames than
    that is given up as soon, so that one false detection does not hide the person who comes next.
    """

    def __init__(self, max_gap_frames: int) -> None:
        self.max_gap_frames = max_gap_frames
        self.box: np.ndarray | None = None
        self.gap = 0
        self.seen = 0

    def choose(self, faces: Detections) -> int | None:
        """Index of the followed face among `faces`, or None."""
        chosen = self._continue(faces)
        if chosen is None and self.gap >= min(self.max_gap_frames, self.seen):
            self.box, self.seen = None, 0
            chosen = self._start(faces)
        if chosen is None:
            self.gap += 1
        else:
            self.box, self.gap, self.seen = faces.boxes[chosen], 0, self.seen + 1
        return chosen

    def _continue(self, faces: Detections) -> int | None:
        if self.box is None or not len(faces):
            return None
        closeness = overlap(self.box, faces.boxes) - _offset(self.box, faces.boxes)
        best = int(np.argmax(closeness))
        return best if closeness[best] > -1 else None

    @staticmethod
    def _start(faces: Detections) -> int | None:
        if not len(faces):
            return None
        area = np.prod(faces.boxes[:, 2:] - faces.boxes[:, :2], axis=1)
        return int(np.argmax(area * faces.scores))


class SideFollower:
    """Follows the left and the right person of one recording, as the official names `_left` and `_right` say.

    With two faces or more, the two strongest are told apart by their position. A single face goes to the side whose
    last box it continues, or to the half of the picture it lies in.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.last: dict[str, np.ndarray] = {}

    def choose(self, faces: Detections) -> dict[str, int | None]:
        """Indices of the left and the right person's face, None where a person has none."""
        chosen: dict[str, int | None] = {"left": None, "right": None}
        if len(faces) >= 2:
            area = np.prod(faces.boxes[:, 2:] - faces.boxes[:, :2], axis=1)
            strongest = np.argsort(-area * faces.scores, kind="stable")[:2]
            left, right = sorted(strongest, key=lambda i: faces.boxes[i, 0])
            chosen = {"left": int(left), "right": int(right)}
        elif len(faces) == 1:
            chosen[self._side(faces.boxes[0])] = 0
        self.last |= {side: faces.boxes[i] for side, i in chosen.items() if i is not None}
        return chosen

    def _side(self, box: np.ndarray) -> str:
        if len(self.last) == 2:
            offsets = {side: _offset(last, box[None])[0] for side, last in self.last.items()}
            return min(offsets, key=lambda side: offsets[side])
        return "left" if (box[0] + box[2]) / 2 < self.width / 2 else "right"
