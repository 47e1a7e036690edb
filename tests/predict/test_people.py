"""Everybody in a video: numbers that stay with their person, rows and scores of each, and the picture of them."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.abaw.tracks import AUS, EXPRESSIONS
from pipeline.core.errors import MienError
from pipeline.predict.command import predict_all
from pipeline.predict.people import People
from pipeline.predict.places import Places
from pipeline.predict.table import Columns, Row
from pipeline.predict.timeline import draw_timeline
from tests.faces.pictures import write_video
from tests.faces.test_follow import faces_at


def test_a_number_stays_with_its_person():
    people = People(3)
    assert people.number(faces_at((300, 0, 50), (20, 0, 60))) == {1: 1, 2: 0}  # from left to right
    for step in range(1, 6):
        assert people.number(faces_at((300 - 20 * step, 0, 50), (20 + 5 * step, 0, 60))) == {1: 1, 2: 0}
    assert people.number(faces_at((45, 0, 60))) == {1: 0}
    assert people.number(faces_at((45, 0, 60), (500, 0, 40), (200, 0, 50))) == {1: 0, 2: 2, 3: 1}


def test_who_was_away_for_long_has_another_number():
    people = People(2)
    for _ in range(3):
        people.number(faces_at((0, 0, 50)))
    people.number(faces_at())
    assert people.number(faces_at((0, 0, 50))) == {1: 0}
    for _ in range(2):  # for as long as a track is held
        assert people.number(faces_at()) == {}
    assert people.number(faces_at((0, 0, 50))) == {2: 0}


@pytest.fixture
def pair(portrait: np.ndarray) -> Path:
    """Six frames of two faces, the right one from the third on; the fifth shows nobody."""
    empty = np.full_like(portrait, 128)
    dark = (portrait * 0.6).astype(np.uint8)
    frames = [[portrait, empty]] * 2 + [[portrait, dark]] * 2 + [[empty, empty], [portrait, dark]]
    return write_video(Path("in/pair.avi"), [np.concatenate(frame, axis=1) for frame in frames])


def test_everybody_has_rows_and_scores_of_their_own(project, pair):
    assert predict_all(pair, Places(Path("all.parquet"), Path("seen"), Path("time")), people=True) == 0
    rows = pq.read_table("all.parquet").to_pylist()
    assert [(row["frame"], row["person"]) for row in rows] == [
        *((1, 1), (2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (5, None), (6, 1), (6, 2)),
    ]
    left, right = ([row for row in rows if row["person"] == person] for person in (1, 2))
    assert max(row["x2"] for row in left) < 256 < min(row["x1"] for row in right)
    assert min(row["valence"] for row in left) > max(row["valence"] for row in right)  # the right one is darker
    assert predict_all(pair, Places(Path("one.parquet"))) == 0
    alone = pq.read_table("one.parquet").to_pylist()
    assert "person" not in alone[0] and len(alone) == 6
    own = [{k: v for k, v in row.items() if k not in ("person", "face")} for row in left]
    assert own == [{k: v for k, v in row.items() if k != "face"} for row in alone if row["found"]]
    picture = cv2.imread("time/pair.avi.png")
    assert picture is not None and picture.shape[0] > 500 and Path("seen/pair.avi.mp4").is_file()


def test_people_are_followed_where_faces_are_detected(project):
    with pytest.raises(MienError, match="--people follows faces, which --crops does not look for") as caught:
        predict_all(Path("in"), Places(Path("out.csv")), crops=True, people=True)
    assert caught.value.exit_code == 2


def row(frame: int, found: bool, likeliest: int) -> Row:
    scores: Row = {f"p_{name}": float(i == likeliest) for i, name in enumerate(EXPRESSIONS)}
    scores |= dict.fromkeys(AUS, 0.5) | {"valence": 0.5, "arousal": -0.5}
    return {"source": "v.mp4", "frame": frame, "seconds": frame / 10, "found": found} | (scores if found else {})


def image(path: Path) -> np.ndarray:
    loaded = cv2.imread(str(path))
    assert loaded is not None
    return loaded


def test_a_timeline_has_the_panels_of_what_is_answered_and_gaps(tmp_path):
    rows = [row(frame, not 8 < frame < 14, 1 if frame < 10 else 5) for frame in range(1, 21)]
    draw_timeline(rows, Columns(EXPRESSIONS, (0.5,) * 12, va=True), tmp_path / "all.png")
    draw_timeline(rows, Columns(EXPRESSIONS, (), va=False), tmp_path / "one.png")
    whole, one = image(tmp_path / "all.png"), image(tmp_path / "one.png")
    assert whole.shape[0] > 2 * one.shape[0]
    plot = one[:, : one.shape[1] * 3 // 4]  # without the legend
    orange, brown = (np.nonzero((plot == colour).all(axis=2))[1] for colour in ((14, 127, 255), (75, 86, 140)))
    assert len(orange) and len(brown) and brown.min() - orange.max() > 50  # frames without a face between the two


def test_nothing_is_drawn_where_nothing_was_seen(tmp_path):
    draw_timeline([row(1, False, 0), row(2, False, 0)], Columns(EXPRESSIONS, (), va=True), tmp_path / "none.png")
    assert not list(tmp_path.iterdir())
