"""Everybody in a video: each face followed through its frames, with a number of its own."""

from pipeline.faces.detections import Detections
from pipeline.faces.follow import Track, continued


class People:
    """Numbers the faces of a video's frames by person, from 1 in the order of coming.

    A face goes on with the closest track, each track and each face once (`continued`); any other face is a new person.
    Who was away for longer than a track is held comes back under a new number: places are followed, not looks.
    """

    def __init__(self, max_gap_frames: int) -> None:
        self.max_gap_frames = max_gap_frames
        self.tracks: dict[int, Track] = {}
        self.count = 0

    def number(self, faces: Detections) -> dict[int, int]:
        """Which face of the next frame is whose: person to index, in the order of persons."""
        known = list(self.tracks)
        pairs = continued([self.tracks[person] for person in known], faces)
        found = {known[track]: face for track, face in pairs.items()}
        for person, track in list(self.tracks.items()):
            track.go_on(faces.boxes[found[person]] if person in found else None)
            if person not in found and track.lost:
                del self.tracks[person]
        for face in sorted(set(range(len(faces))) - set(found.values()), key=lambda face: faces.boxes[face, 0]):
            self.count += 1
            self.tracks[self.count] = Track(faces.boxes[face], self.max_gap_frames)
            found[self.count] = face
        return dict(sorted(found.items()))
