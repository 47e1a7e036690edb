"""What others import: media of every kind in, the table of `mien predict` out."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mien
from pipeline.predict.command import predict_all
from pipeline.predict.places import Places
from tests.faces.pictures import write_video


def test_the_table_is_that_of_the_command(project, portrait):
    Path("in").mkdir()
    cv2.imwrite("in/face.png", portrait)
    write_video(Path("in/clip.avi"), [portrait, portrait[::-1], portrait])
    predict_all(Path("in"), Places(Path("out.parquet")))
    table = mien.predict("in")
    assert table.equals(pq.read_table("out.parquet")) and len(table) == 4
    assert table.equals(mien.predict(Path("in"), project=project))


def test_an_array_is_the_picture_that_it_holds(project, portrait):
    cv2.imwrite("face.png", portrait)
    ask = mien.Predictor()
    rgb = portrait[..., ::-1]
    table = ask([rgb, "face.png", np.zeros_like(rgb)])
    assert table["source"].to_pylist() == ["array 0", "face.png", "array 2"]
    assert table["found"].to_pylist() == [True, True, False]
    assert table.slice(0, 1).drop_columns("source").equals(table.slice(1, 1).drop_columns("source"))
    assert ask(rgb).equals(table.slice(0, 1)) and len(ask([])) == 0 and ask([]).schema == ask.schema
    assert not ask(rgb).drop_columns("source").equals(ask(portrait).drop_columns("source"))  # channels count


def test_aligned_faces_are_taken_as_they_are(project):
    grey = np.full((112, 112, 3), 128, np.uint8)
    (row,) = mien.predict(grey, crops=True).to_pylist()
    assert row["found"] and row["detection"] == 1.0 and row["valence"] == pytest.approx(128 / 255, abs=1e-3)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_an_array_of_another_form_is_an_error_that_says_which(project, array):
    with pytest.raises(mien.MienError, match=r"array 1: is .*; give one picture as RGB uint8 \(H, W, 3\)"):
        mien.predict([np.zeros((8, 8, 3), np.uint8), array])


def test_what_is_not_read_is_a_warning_and_costs_no_other(project, portrait):
    Path("in").mkdir()
    cv2.imwrite("in/face.png", portrait)
    Path("in/broken.jpg").write_bytes(b"\xff\xd8\xff")
    Path("in/notes.txt").touch()
    with pytest.warns(mien.MediaWarning) as told:
        table = mien.predict("in")
    assert table["source"].to_pylist() == ["in/face.png"]
    unused, broken = (str(each.message) for each in told)
    assert unused.endswith("1 file, in/notes.txt") and broken == "in/broken.jpg: JPEG is truncated or damaged"
    with pytest.raises(mien.MienError, match="nowhere: no such file or folder"):
        mien.predict("nowhere")


def test_a_folder_that_is_no_project_is_named(tmp_path):
    with pytest.raises(mien.MienError, match=r"holds no params\.yaml; name the root of a project"):
        mien.predict("x.png", project=tmp_path)


def test_nothing_trained_is_told(workspace):
    with pytest.raises(mien.MienError, match="nothing is trained yet"):
        mien.Predictor()


def test_the_import_is_cheap_and_the_table_is_arrow():
    code = "import sys, mien; print('torch' in sys.modules, *mien.__all__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "MediaWarning", "MienError", "Predictor", "predict"]
    assert mien.predict.__annotations__["return"] is pa.Table
