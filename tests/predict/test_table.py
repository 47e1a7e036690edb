"""A table has the columns of what is trained, and no others."""

import numpy as np
import pyarrow.csv as pacsv

from pipeline.abaw.tracks import AUS, EXPRESSIONS, LSD_EXPRESSIONS, TRACKS
from pipeline.predict.media import Seen
from pipeline.predict.members import TrackModel
from pipeline.predict.table import Columns, RowWriter, rows_of
from pipeline.tables.fitted import Fitted
from tests.predict.faces import face_of

WHOLE = ["source", "frame", "seconds", "face", "found", "x1", "y1", "x2", "y2", "detection"]


def model(track: str, *tasks: str) -> TrackModel:
    fitted = {task: Fitted((1.0,), 0, (0.5,) * 12 if task == "aus" else ()) for task in tasks}
    return TrackModel(TRACKS[track], fitted, ["one"], [])


def test_lsd_alone_gives_its_six_expressions(tmp_path):
    columns = Columns.of([model("lsd", "expression")])
    seen = [Seen(tmp_path / "a.jpg", 1, None, 0, face_of(1)), Seen(tmp_path / "a.jpg", 2, None, 0, None)]
    probabilities = np.full((1, 6), 0.1) + 0.4 * np.eye(6)[[2]]
    rows = rows_of(seen, {"expression": probabilities}, columns)
    assert rows[0]["expression"] == "Fear" and "expression" not in rows[1]
    RowWriter(tmp_path / "out.csv", columns.schema()).write(rows)
    table = pacsv.read_csv(tmp_path / "out.csv")
    assert table.column_names == [*WHOLE, "expression", *(f"p_{name}" for name in LSD_EXPRESSIONS)]
    assert table["found"].to_pylist() == [True, False] and table["p_Fear"].to_pylist() == [0.5, None]


def test_all_tracks_give_every_column():
    columns = Columns.of([model("expr", "expression"), model("mtl", "aus", "va")])
    names = columns.schema().names
    assert columns.expressions == EXPRESSIONS and columns.au_thresholds == (0.5,) * 12
    assert names[-2:] == ["valence", "arousal"] and set(AUS) < set(names) and len(names) == 10 + 9 + 24 + 2
