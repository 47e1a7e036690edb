"""A video's frames are those that the pipeline reads, whatever rate its container states."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.abaw.tracks import TRACKS
from pipeline.faces.media import read_frames, stated_frames
from pipeline.validate.findings import Finding
from pipeline.validate.validate import validate_release
from pipeline.validate.videos import why_undecodable
from tests.abaw_fixture import EXPR_TRAIN, lines, make_affwild2, write

FRAMES = 30


def write_uneven(path: Path) -> None:
    """30 frames, the first half of them ten times as far apart as the others, in a container that states no count."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 64, 48, "yuv420p", Fraction(1, 1000)
        time = 0
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * number, np.uint8), format="bgr24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            time += 400 if number < FRAMES // 2 else 40
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def labelled(root: Path, rows: int) -> list[Finding]:
    """Findings about the labels of the uneven video, which has this many rows."""
    make_affwild2(root)
    (root / "videos").mkdir(exist_ok=True)
    write_uneven(root / "videos" / "12.webm")
    write(root / EXPR_TRAIN / "12.txt", lines(TRACKS["expr"].video_header, *["1"] * rows))
    found = validate_release(root).findings
    return [finding for finding in found if finding.path.endswith("EXPR_Recognition_Challenge/Train_Set/12.txt")]


def test_frames_of_a_variable_rate_are_counted_and_not_reckoned(tmp_path):
    write_uneven(tmp_path / "12.webm")
    capture = cv2.VideoCapture(str(tmp_path / "12.webm"))
    reckoned = capture.get(cv2.CAP_PROP_FRAME_COUNT)  # duration times a rate
    assert abs(reckoned - FRAMES) > 100 and stated_frames(tmp_path / "12.webm") == 0
    assert sum(1 for _ in read_frames(tmp_path / "12.webm")) == FRAMES


@pytest.mark.parametrize(("rows", "effect"), [(FRAMES, None), (FRAMES + 1, "note"), (FRAMES + 9, "labels")])
def test_rows_are_compared_with_the_frames_that_are_there(tmp_path, rows, effect):
    told = [finding for finding in labelled(tmp_path, rows) if "12.webm has" in finding.message]
    assert [finding.effect for finding in told] == ([effect] if effect else [])
    assert all(f"{rows} rows, but videos/12.webm has {FRAMES} frames" == finding.message for finding in told)


def test_a_video_of_which_nothing_decodes_is_told_with_the_reason(tmp_path):
    write_uneven(tmp_path / "12.webm")
    assert why_undecodable(tmp_path / "12.webm") == ""
    (tmp_path / "12.webm").write_bytes(b"")
    assert why_undecodable(tmp_path / "12.webm") == "file is empty"
