"""Following one person, or two, through a video."""

import numpy as np
import pytest

from pipeline.faces.detections import Detections
from pipeline.faces.follow import Follower, SideFollower, Track, continued
from pipeline.faces.media import read_frames


def faces_at(*boxes: tuple[float, float, float], score: float = 0.9) -> Detections:
    """Square faces of (x, y, size)."""
    corners = np.array([(x, y, x + size, y + size) for x, y, size in boxes], np.float32).reshape(-1, 4)
    return Detections(corners, np.full(len(boxes), score, np.float32), np.zeros((len(boxes), 5, 2), np.float32))


def test_follower_starts_with_the_largest():
    assert Follower(3).choose(faces_at((0, 0, 10), (50, 50, 40), (200, 0, 20))) == 1
    assert Follower(3).choose(faces_at()) is None


def test_follower_keeps_the_person_when_a_larger_face_appears():
    follower = Follower(3)
    assert follower.choose(faces_at((100, 100, 40))) == 0
    for step in range(1, 6):  # the person drifts, the larger face comes first in the list
        assert follower.choose(faces_at((300, 50, 90), (100 + 8 * step, 100, 40))) == 1
    assert follower.choose(faces_at((300, 50, 90))) is None  # the stranger alone is not the person
    assert follower.choose(faces_at((300, 50, 90), (140, 100, 40))) == 1


def followed(gap: int, frames: int) -> Follower:
    """A follower that has seen one face at (100, 100) for some frames."""
    follower = Follower(gap)
    for _ in range(frames):
        assert follower.choose(faces_at((100, 100, 40))) == 0
    return follower


@pytest.mark.parametrize("gap", [0, 2])
def test_follower_gives_up_after_the_gap(gap):
    follower = followed(gap, 3)
    for _ in range(gap):
        assert follower.choose(faces_at((300, 50, 90))) is None
    assert follower.choose(faces_at((300, 50, 90))) == 0


def test_a_track_is_held_no_longer_than_it_was_seen():
    follower = followed(15, 1)  # one false detection
    assert follower.choose(faces_at((300, 50, 90))) is None
    assert follower.choose(faces_at((300, 50, 90))) == 0


def test_a_seen_face_resets_the_gap():
    follower = followed(2, 2)
    for _ in range(3):
        assert follower.choose(faces_at()) is None
        assert follower.choose(faces_at()) is None
        assert follower.choose(faces_at((300, 50, 90), (100, 100, 40))) == 1


def test_side_follower_tells_two_faces_apart():
    follower = SideFollower(400, 15)
    assert follower.choose(faces_at((300, 0, 50), (50, 0, 50))) == {"left": 1, "right": 0}
    assert follower.choose(faces_at((10, 0, 12), (300, 0, 50), (50, 0, 60))) == {"left": 2, "right": 1}
    assert follower.choose(faces_at()) == {"left": None, "right": None}


def test_side_follower_places_a_single_face():
    follower = SideFollower(400, 15)
    assert follower.choose(faces_at((250, 0, 50))) == {"left": None, "right": 0}  # by the half it lies in
    assert follower.choose(faces_at((50, 0, 50))) == {"left": 0, "right": None}
    follower.choose(faces_at((10, 0, 50), (110, 0, 50)))  # both in the left half
    assert follower.choose(faces_at((115, 0, 50))) == {"left": None, "right": 0}  # by the last box
    assert follower.choose(faces_at((20, 0, 50))) == {"left": 0, "right": None}


def test_a_larger_passer_by_takes_nobodys_place():
    follower = SideFollower(960, 15)
    people = (100, 100, 100), (740, 100, 130)
    assert follower.choose(faces_at(*people)) == {"left": 0, "right": 1}
    for step in range(8):  # between them, larger than both
        passer_by = (300 + 40 * step, 50, 200)
        assert follower.choose(faces_at(passer_by, *people)) == {"left": 1, "right": 2}
    assert follower.choose(faces_at((480, 50, 200), people[1])) == {"left": None, "right": 1}  # nor while one is away
    assert follower.choose(faces_at(*people)) == {"left": 0, "right": 1}


def test_a_person_who_is_lost_is_looked_for_beside_the_other():
    follower = SideFollower(400, 2)
    for _ in range(3):
        follower.choose(faces_at((10, 0, 50), (120, 0, 50)))  # both in the left half
    for _ in range(2):
        assert follower.choose(faces_at((120, 0, 50))) == {"left": None, "right": 0}
    assert follower.choose(faces_at((120, 0, 50), (300, 0, 90))) == {"left": None, "right": 0}  # not on that side
    assert follower.choose(faces_at((120, 0, 50), (300, 0, 90), (40, 0, 30))) == {"left": 2, "right": 0}


@pytest.mark.slow
def test_the_annotated_people_of_a_video_with_a_passer_by(shared, mtcnn):
    follower = SideFollower(960, 15)
    seen: dict[str, list[float]] = {"left": [], "right": []}
    for frame in read_frames(shared / "inputs" / "two.mp4"):
        assert frame.image is not None
        faces = mtcnn.detect(frame.image)
        for side, index in follower.choose(faces).items():
            seen[side] += [] if index is None else [faces.boxes[index, 0]]
    left, right = seen["left"], seen["right"]
    assert len(right) == 60 and min(right) > 700 and len(left) > 40 and max(left) < 150


def test_several_tracks_take_the_closest_faces_each_once():
    tracks = [Track(box, 3) for box in faces_at((0, 0, 40), (30, 0, 40)).boxes]
    assert continued(tracks, faces_at((31, 0, 40), (2, 0, 40))) == {0: 1, 1: 0}
    assert continued(tracks, faces_at((10, 0, 40))) == {0: 0} and continued(tracks, faces_at((500, 0, 40))) == {}
    assert continued(tracks, faces_at()) == continued([], faces_at((0, 0, 40))) == {}
