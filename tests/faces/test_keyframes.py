"""`detect_align.every`: whole looks at every k-th frame, the surroundings of the followed face in between."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import MienError
from pipeline.faces.detections import Detections, Detector, overlap
from pipeline.faces.detector import DetectAlign, load_detector
from pipeline.faces.extract import cut_face, extract
from pipeline.faces.follow import Follower, SideFollower, Track
from pipeline.faces.geometry import alignment
from pipeline.faces.keyframes import KeyframeDetector
from pipeline.faces.media import read_frames
from pipeline.predict.media import Finder
from pipeline.tables.manifest import MediaItem
from tests.faces.pictures import write_video

HEIGHT, WIDTH = 320, 480
EMPTY = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)


class Counted:
    """A detector that remembers at which calls it saw the whole frame, and at which the surroundings of a face."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.looks: list[str] = []

    def detect(self, image: np.ndarray) -> Detections:
        self.looks.append("whole")
        return self.detector.detect(image)

    def detect_near(self, image: np.ndarray, box: np.ndarray) -> Detections:
        self.looks.append("near")
        return self.detector.detect_near(image, box)


@pytest.fixture(params=["mtcnn", "scrfd_2.5g_bnkps.onnx"])
def detector(request, mtcnn) -> Detector:
    if request.param == "mtcnn":
        return mtcnn
    from pipeline.faces.scrfd import InsightFace

    return InsightFace(request.getfixturevalue("shared") / "models" / request.param, 320, 0.5)


def at(astronaut: np.ndarray, x: float, y: float, scale: float = 0.8) -> np.ndarray:
    """A frame of 480 x 320 with the astronaut's picture at (x, y)."""
    matrix = np.array([[scale, 0, x], [0, scale, y]])
    return cv2.warpAffine(astronaut, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_CONSTANT, borderValue=(128,) * 3)


def walk(astronaut: np.ndarray, frames: int) -> list[np.ndarray]:
    """A face that goes right and down and comes nearer."""
    return [at(astronaut, 20 + 6 * i, 20 + 2 * i, 0.75 + 0.01 * i) for i in range(frames)]


def followed(detector: Detector, frames: list[np.ndarray], every: int) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """Box and landmarks of the followed face of each frame."""
    follower, keyframes = Follower(15), KeyframeDetector(detector, every)
    found = []
    for number, frame in enumerate(frames, 1):
        faces = keyframes.detect(number, frame, follower.followed)
        chosen = follower.choose(faces)
        found.append(None if chosen is None else (faces.boxes[chosen], faces.landmarks[chosen]))
    return found


def apart(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Mean distance of five landmarks in pixels of the crop of 112 that `theirs` give."""
    matrix = alignment(theirs, 112)
    return float(np.linalg.norm((mine - theirs) @ matrix[:, :2].T, axis=1).mean())


def check_alike(mine: list, theirs: list) -> None:
    assert [face is None for face in mine] == [face is None for face in theirs]
    for a, b in zip(mine, theirs, strict=True):
        if a is not None:
            assert overlap(a[0], b[0][None])[0] > 0.85
            assert apart(a[1], b[1]) < 2


def test_every_frame_is_the_detector_alone(detector, astronaut):
    counted = Counted(detector)
    frames = walk(astronaut, 5)
    for frame, face in zip(frames, followed(counted, frames, 1), strict=True):
        faces = detector.detect(frame)
        assert len(faces) == 1 and face is not None
        assert np.array_equal(faces.boxes[0], face[0]) and np.array_equal(faces.landmarks[0], face[1])
    assert counted.looks == ["whole"] * 5


def test_a_followed_face_is_seen_whole_at_every_third_frame(detector, astronaut):
    counted = Counted(detector)
    frames = walk(astronaut, 8)
    found = followed(counted, frames, 3)
    # at a whole look the followed face is seen near as well, so that all its landmarks are of one kind
    assert counted.looks == ["whole", "near", "near", "whole", "near", "near", "near", "whole", "near", "near"]
    check_alike(found, followed(detector, frames, 1))


def test_a_cut_is_seen_in_its_own_frame(detector, astronaut):
    before, after = at(astronaut, 10, 20), at(astronaut, 260, 90)
    counted = Counted(detector)
    frames = [before] * 2 + [after] * 4
    found = followed(counted, frames, 10)
    assert counted.looks == ["whole", "near", "near", *["whole"] * 3, "near"]
    # as with whole frames alone: out of the track's reach, the face is taken when the track is lost, two frames later
    check_alike(found, followed(detector, frames, 1))
    assert [face is not None for face in found] == [True] * 2 + [False] * 2 + [True] * 2


def test_a_face_that_leaves_and_comes_back(detector, astronaut):
    there = at(astronaut, 100, 40)
    frames = [there] * 2 + [EMPTY] * 4 + [there] * 3
    counted = Counted(detector)
    found = followed(counted, frames, 10)
    check_alike(found, followed(detector, frames, 1))
    assert [face is not None for face in found] == [True] * 2 + [False] * 4 + [True] * 3
    # near, the second time in vain; whole until it is back; near
    assert counted.looks == ["whole", "near", "near", *["whole"] * 5, "near", "near"]


def test_a_face_at_the_edge_of_the_frame(detector, astronaut):
    frames = [at(astronaut, x, 40, 1.0) for x in (-60, -64, -68, -72)]
    found = followed(detector, frames, 10)
    assert all(found)
    check_alike(found, followed(detector, frames, 1))


def test_two_people_are_each_seen_near(detector, astronaut):
    both = at(astronaut, 0, 40, 0.8)
    both[:, 240:] = at(astronaut, 240, 40, 0.8)[:, 240:]
    counted, follower = Counted(detector), SideFollower(WIDTH, 15)
    keyframes = KeyframeDetector(counted, 5)
    for number in (1, 2, 3):
        faces = keyframes.detect(number, both, follower.followed)
        chosen = follower.choose(faces)
        assert faces.boxes[chosen["left"], 2] < 240 < faces.boxes[chosen["right"], 0]
    assert counted.looks == ["whole", *["near"] * 4]


class Made:
    """A detector whose faces are given."""

    def __init__(self, whole: list[list[float]], near: list[float]) -> None:
        self.whole, self.near = whole, near

    @staticmethod
    def _faces(boxes: list[list[float]]) -> Detections:
        count = len(boxes)
        return Detections(
            np.array(boxes, np.float32).reshape(count, 4), np.full(count, 0.9, np.float32), np.zeros((count, 5, 2))
        )

    def detect(self, image: np.ndarray) -> Detections:
        return self._faces(self.whole)

    def detect_near(self, image: np.ndarray, box: np.ndarray) -> Detections:
        return self._faces([self.near])


@pytest.mark.parametrize(("near", "kept"), [([14.0, 10, 54, 50], True), ([40.0, 10, 80, 50], False)])
def test_what_overlaps_the_track_too_little_is_not_the_face(near: list[float], kept: bool) -> None:
    whole = [[12.0, 10, 52, 50], [200.0, 10, 290, 100]]
    keyframes = KeyframeDetector(Made(whole, near), 5)
    track = Track(np.array([10, 10, 50, 50], np.float32), 15)
    keyframes.detect(1, EMPTY, [])
    assert len(keyframes.detect(2, EMPTY, [track])) == (1 if kept else 2)


def test_one_face_does_not_stand_for_two_people():
    """The right person has gone, and the look around her finds the left one."""
    whole = [[12.0, 10, 52, 50]]
    keyframes = KeyframeDetector(Made(whole, [14.0, 10, 54, 50]), 5)
    keyframes.detect(1, EMPTY, [])
    tracks = [Track(np.array(box, np.float32), 15) for box in ([10, 10, 50, 50], [22, 10, 62, 50])]
    assert len(keyframes.detect(2, EMPTY, tracks)) == 1


# --- the stage and `mien predict` ------------------------------------------------------------------------------------


def rows(root: Path, params: DetectAlign) -> pa.Table:
    item = MediaItem("aff-wild2", "7", "7", "", 0, 0, "video", ("7.avi",), 8)
    (shard,) = extract([item], root, params, "detect_align", "code", "weights")
    return pq.read_table(shard.path)


@pytest.fixture
def release(workspace, astronaut) -> Path:
    return write_video(workspace / "raw/7.avi", walk(astronaut, 8)).parent


def test_a_shard_of_every_frame_is_as_it_was(release, params, mtcnn):
    """What was made before there was the param: the detector on each frame, one face, its crop."""
    crops = []
    for frame in read_frames(release / "7.avi"):
        assert frame.image is not None
        crops.append(cut_face(frame.image, mtcnn.detect(frame.image), 0, params).jpeg)
    assert params.every == 1
    assert rows(release, params)["jpeg"].to_pylist() == crops


def test_the_stage_and_predict_see_the_same_faces(release, params):
    thirds = params.model_copy(update={"every": 3})
    table = rows(release, thirds)
    seen = [row.face for row in Finder(thirds).faces(release / "7.avi")]
    assert all(seen) and table["found"].to_pylist() == [True] * 8
    assert table["jpeg"].to_pylist() == [face.jpeg for face in seen if face]
    each = np.array(rows(release, params)["landmarks"].to_pylist()).reshape(8, 5, 2)
    mine = np.array(table["landmarks"].to_pylist()).reshape(8, 5, 2)
    assert all(0 < apart(a, b) < 2 for a, b in zip(mine[1:], each[1:], strict=True))  # the first is looked at once
    assert np.array_equal(mine[0], each[0])


def test_a_file_of_one_size_has_nothing_to_save(shared, params):
    path = shared / "models/scrfd_500m_bnkps.onnx"
    fixed = params.model_copy(update={"detector": f"insightface:{path}"})
    assert len(load_detector(fixed).detect(EMPTY)) == 0
    with pytest.raises(MienError, match=r"detect_align\.every: scrfd_500m_bnkps\.onnx sees 640 pixels whatever"):
        load_detector(fixed.model_copy(update={"every": 3}))


@pytest.mark.parametrize("every", [0, 31, 2.5])
def test_bounds(params, every):
    with pytest.raises(ValueError, match="every"):
        DetectAlign.model_validate(params.model_dump() | {"every": every})
