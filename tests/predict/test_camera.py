"""A camera's rows: as they come, until Ctrl-C or until it is unplugged."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.code import ROOT
from pipeline.core.errors import MienError
from pipeline.predict.camera import frames_of, open_camera, predict_camera
from pipeline.predict.places import Places


class Pictures:
    """A camera that shows pictures, looks at the table before each, and then ends or is interrupted."""

    def __init__(self, pictures: list[np.ndarray], interrupted: bool, table: Path | None = None) -> None:
        self.left, self.interrupted, self.table = list(pictures), interrupted, table
        self.released, self.lines = False, list[int]()

    def read(self) -> tuple[bool, np.ndarray]:
        self.lines.append(len(self.table.read_text().splitlines()) if self.table and self.table.is_file() else 0)
        if self.left:
            return True, self.left.pop(0)
        if self.interrupted:
            raise KeyboardInterrupt
        return False, np.empty(0)

    def release(self) -> None:
        self.released = True


def test_rows_are_there_as_soon_as_their_frame(project, portrait, capsys):
    camera = Pictures([portrait, np.zeros_like(portrait), portrait], interrupted=True, table=Path("out.jsonl"))
    assert predict_camera(3, Places(Path("out.jsonl")), opened=lambda number: camera) == 0
    assert camera.lines == [0, 1, 2, 3] and camera.released
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [(row["source"], row["frame"], row["found"]) for row in rows] == [
        *(("camera 3", 1, True), ("camera 3", 2, False), ("camera 3", 3, True)),
    ]
    assert rows[0]["seconds"] == 0 < rows[1]["seconds"] < rows[2]["seconds"]
    assert "out.jsonl: 3 rows" in capsys.readouterr().out


def test_a_camera_that_gives_no_more_is_told(project, portrait, capfdbinary):
    camera = Pictures([np.concatenate([portrait, portrait], axis=1)], interrupted=False)
    assert predict_camera(0, Places(None), people=True, opened=lambda number: camera) == 1
    out, err = capfdbinary.readouterr()
    assert [json.loads(line)["person"] for line in out.splitlines()] == [1, 2]
    assert b"camera 0: gives no more frames" in err and camera.released


def test_a_frame_has_the_seconds_since_the_first(portrait):
    ticks = iter([5.0, 5.5, 7.0])
    frames = frames_of(Pictures([portrait] * 3, interrupted=False), lambda: next(ticks))
    assert [(frame.number, frame.seconds) for frame in frames] == [(1, 0.0), (2, 0.5), (3, 2.0)]


def test_no_camera_is_one_line(capfd):
    with pytest.raises(MienError, match="--camera 97: no such camera, or another program has it") as caught:
        open_camera(97)
    assert caught.value.exit_code == 2 and capfd.readouterr().err == ""


def test_copies_and_timelines_are_not_made_of_a_camera(tmp_path):
    copies, timelines = Places(None, overlay=tmp_path), Places(None, timeline=tmp_path)
    for places in (copies, timelines, Places(tmp_path / "a.csv", resume=True)):
        with pytest.raises(MienError, match="--camera writes rows alone"):
            predict_camera(0, places)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["x.jpg", "--camera", "0"], ["--camera", "0", "--crops"]])
def test_input_or_camera_is_asked_for(arguments):
    command = [sys.executable, "-m", "pipeline", "predict", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (2, "error: mien predict: give an INPUT, or a --camera without --crops\n")
