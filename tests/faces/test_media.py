"""Pictures and videos: whole ones and damaged ones."""

import cv2
import numpy as np
import pytest

from pipeline.faces.media import UnreadableMedia, decode_image, frames_per_second, read_frames
from tests.faces.pictures import GREY, jpeg_of, write_video


def test_decode_image_gives_bgr(astronaut):
    difference = np.abs(decode_image(jpeg_of(astronaut)).astype(int) - astronaut)
    assert difference.mean() < 4
    _, png = cv2.imencode(".png", astronaut)
    assert np.array_equal(decode_image(png.tobytes()), astronaut)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: data[:2], "truncated"),
        (lambda data: b"", "empty"),
        (lambda data: b"this is no picture", "not a decodable picture"),
        (lambda data: b"\xff\xd8\xff\xd9", "not a decodable picture"),
        (lambda data: b"\x89PNG\r\n\x1a\n" + data[8:40], "not a decodable picture"),
    ],
)
def test_damaged_pictures_are_told(astronaut, damage, reason):
    with pytest.raises(UnreadableMedia, match=reason):
        decode_image(damage(jpeg_of(astronaut)))


def test_read_frames(tmp_path, astronaut):
    frames = list(read_frames(write_video(tmp_path / "v.avi", [astronaut, GREY])))
    assert [frame.shape for frame in frames] == [astronaut.shape] * 2
    assert np.abs(frames[0].astype(int) - astronaut).mean() < 6 and np.abs(frames[1].astype(int) - 128).mean() < 2
    assert frames_per_second(tmp_path / "v.avi") == pytest.approx(30)


@pytest.mark.parametrize(("data", "reason"), [(None, "missing"), (b"", "empty"), (b"garbage" * 99, "no decodable")])
def test_damaged_videos_are_told(tmp_path, data, reason):
    path = tmp_path / "v.mp4"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UnreadableMedia, match=reason):
        list(read_frames(path))
