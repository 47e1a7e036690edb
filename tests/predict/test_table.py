"""A table has the columns of what is trained, and no others."""

from pathlib import Path

import numpy as np
import pyarrow.csv as pacsv
import pytest

from pipeline.abaw.tracks import AUS, EXPRESSIONS, LSD_EXPRESSIONS, TRACKS
from pipeline.core.errors import MienError
from pipeline.faces.extract import Face
from pipeline.faces.mtcnn import MTCNN
from pipeline.predict.media import Seen
from pipeline.predict.members import TrackModel
from pipeline.predict.pose import head_pose
from pipeline.predict.table import Columns, rows_of
from pipeline.predict.writer import RowWriter
from pipeline.tables.fitted import Fitted
from tests.predict.faces import face_of

WHOLE = ["source", "frame", "seconds", "face", "found", "x1", "y1", "x2", "y2", "detection"]
WHOLE += [
    f"{point}_{axis}" for point in ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth") for axis in "xy"
]
WHOLE += ["yaw", "pitch", "roll"]


def model(track: str, *tasks: str) -> TrackModel:
    fitted = {task: Fitted((1.0,), 0, (0.5,) * 12 if task == "aus" else ()) for task in tasks}
    return TrackModel(TRACKS[track], fitted, ["one"], [])


def test_lsd_alone_gives_its_six_expressions(tmp_path):
    columns = Columns.of([model("lsd", "expression")])
    seen = [Seen(tmp_path / "a.jpg", 1, None, 0, face_of(1)), Seen(tmp_path / "a.jpg", 2, None, 0, None)]
    probabilities = np.full((1, 6), 0.1) + 0.4 * np.eye(6)[[2]]
    rows = list(rows_of(seen, {"expression": probabilities}, columns))
    assert rows[0]["expression"] == "Fear" and "expression" not in rows[1]
    RowWriter(tmp_path / "out.csv", columns.schema()).write(rows)
    table = pacsv.read_csv(tmp_path / "out.csv")
    assert table.column_names == [*WHOLE, "expression", *(f"p_{name}" for name in LSD_EXPRESSIONS), "expression_by"]
    assert [row.get("expression_by") for row in rows] == ["lsd's one", None]
    assert table["found"].to_pylist() == [True, False] and table["p_Fear"].to_pylist() == [0.5, None]


def test_all_tracks_give_every_column():
    columns = Columns.of([model("expr", "expression"), model("mtl", "aus", "va")])
    names = columns.schema().names
    assert columns.expressions == EXPRESSIONS and columns.au_thresholds == (0.5,) * 12
    assert names[-2:] == ["valence", "arousal"] and set(AUS) < set(names) and len(names) == 23 + 10 + 24 + 2


def test_landmarks_and_pose_stand_beside_the_box(portrait):
    detected = MTCNN(40).detect(portrait)
    face = Face(b"", 1.0, detected.boxes[0], detected.landmarks[0])
    scores = {"va": np.array([[0.5, 0.5]])}
    (row,) = rows_of([Seen(Path("a.jpg"), 1, 0.0, 0, face)], scores, Columns((), (), va=True))
    assert row["x1"] < row["left_eye_x"] < row["nose_x"] < row["right_eye_x"] < row["x2"]
    assert row["left_eye_y"] < row["nose_y"] < row["left_mouth_y"] < row["y2"]
    assert [row["yaw"], row["pitch"], row["roll"]] == pytest.approx(head_pose(detected.landmarks[0]), abs=0.05)


def test_a_crop_taken_as_it_is_has_neither_landmarks_nor_pose():
    (row,) = rows_of([Seen(Path("a.jpg"), 1, None, 0, face_of(1))], {}, Columns((), (), va=False))
    assert row["found"] and "nose_x" not in row and "yaw" not in row


def test_a_table_without_landmarks_is_not_gone_on_with(tmp_path):
    former = "source,frame,seconds,face,found,x1,y1,x2,y2,detection,valence,arousal\n"
    (tmp_path / "old.csv").write_text(former + "a.jpg,1,0,0,true,1,1,2,2,1,0,0\n")
    with pytest.raises(MienError, match="has other columns than these models give; write to another --output"):
        RowWriter(tmp_path / "old.csv", Columns((), (), va=True).schema(), resume=True)
