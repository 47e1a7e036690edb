"""Whole frames at every k-th frame of a video, the surroundings of the followed faces in between.

This is `detect_align.every`: a detector's cost grows with the pixels that it sees, and a followed face moves little
from frame to frame. Each frame's result depends on the frames before it in its video alone.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.faces.detections import Detections, Detector, overlap, suppress
from pipeline.faces.follow import Track, continued

SAME_FACE = 0.4  # overlap of two looks at one face; less is a cut or a leap, which the whole frame decides


class KeyframeDetector:
    """Finds the faces of one video's frames, which are given in their order.

    The whole frame is looked at where the last whole look is `every` frames back, where nobody is followed, where a
    followed face was not there in the frame before, and where the look around one finds nothing that is the same face.
    So no track is lost by it. What is missed in between are other faces: who comes beside the followed is seen up to
    `every` - 1 frames late, and a face that only the whole frame would show as closer to the track is not chosen.
    """

    def __init__(self, detector: Detector, every: int) -> None:
        self.detector, self.every = detector, every
        self.whole = 0  # number of the frame that was last looked at as a whole

    def detect(self, number: int, image: np.ndarray, tracks: Sequence[Track]) -> Detections:
        """Faces of the frame `number` (from 1), BGR uint8 (H, W, 3); between whole looks those of `tracks` alone."""
        if number - self.whole < self.every and tracks and not any(track.gap for track in tracks):
            faces = Detections.joined([self._near(image, track.box) for track in tracks])
            if len(suppress(faces.boxes, faces.scores, SAME_FACE)) == len(tracks):  # one each, no two the same
                return faces
        self.whole = number
        faces = self.detector.detect(image)
        return self._refined(image, faces, tracks) if self.every > 1 else faces

    def _near(self, image: np.ndarray, box: np.ndarray) -> Detections:
        """The face in the surroundings of `box` (4,) that is the same, or none."""
        found = self.detector.detect_near(image, box)
        best = np.argsort(-overlap(box, found.boxes), kind="stable")[:1]
        return found.chosen(best[overlap(box, found.boxes[best]) >= SAME_FACE])

    def _refined(self, image: np.ndarray, faces: Detections, tracks: Sequence[Track]) -> Detections:
        """The faces of a whole look, the followed ones as the look around them shows them.

        Two looks at one face differ by a pixel: taken in turn they would make a still face tremble.
        """
        parts = [faces.chosen(np.array([row])) for row in range(len(faces))]
        for row in continued(tracks, faces).values():
            parts[row] = self._near(image, faces.boxes[row]) or parts[row]
        return Detections.joined([Detections.none(), *parts])
