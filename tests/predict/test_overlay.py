"""Overlays: H.264 that browsers play, a frame for a frame, at the frames' own times."""

from fractions import Fraction

import av
import numpy as np

from pipeline.faces.media import read_frames
from pipeline.predict.overlay import draw, overlay_video
from tests.faces.pictures import write_h264, write_video

TIMES = 5


def row(frame: int, found: bool) -> dict:
    return {"frame": frame, "found": found, "x1": 20, "y1": 20, "x2": 60, "y2": 60, "expression": "Fear", "p_Fear": 0.9}


def test_frames_at_odd_times_keep_them(tmp_path):
    times = [0, 1, 2, 14, 15, 40]  # hundredths of a second
    source = write_h264(tmp_path / "v.mp4", times, time_base=Fraction(1, 100))
    overlay_video(source, [], tmp_path / "out" / "v.mp4")
    assert [round(frame.seconds * 100) for frame in read_frames(tmp_path / "out" / "v.mp4")] == times


def test_an_overlay_is_a_video_of_the_same_frames(tmp_path, monkeypatch):
    source = write_video(tmp_path / "v.avi", [np.full((96, 128, 3), 40 * n, np.uint8) for n in range(TIMES)])
    monkeypatch.setattr("pipeline.predict.overlay.draw", lambda image, rows: draw(image[1:, 1:], rows))  # odd sides
    overlay_video(source, [row(1, True), row(3, False)], tmp_path / "out" / "v.avi")
    target = tmp_path / "out" / "v.avi.mp4"
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    before, after = list(read_frames(source)), list(read_frames(target))
    assert [round(frame.seconds, 2) for frame in after] == [round(frame.seconds, 2) for frame in before]
    first, second = after[0].image, after[1].image
    assert first is not None and second is not None and second.shape[:2] == (96, 128)
    assert np.abs(second.astype(int) - 40).mean() < 6  # a frame without rows says "no face", in its corner
    assert np.abs(first[22:58, 20].astype(int)).mean() > 40  # the box, on black
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["v.avi.mp4"]
