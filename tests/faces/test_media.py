"""Videos: whole ones and damaged ones, and all that a container may say of how they are shown."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from pipeline.core.pictures import UnreadableMedia
from pipeline.faces.media import Frame, frames_per_second, read_frames, stated_frames
from tests.faces.pictures import GREY, write_h264, write_video


def shown(frames: Sequence[Frame]) -> list[np.ndarray]:
    return [frame.image for frame in frames if frame.image is not None]


def with_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """The same video under another display matrix: nine numbers of its track's header, 16.16."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    for offset, value in ((0, a), (4, b), (12, c), (16, d)):
        data[place + offset : place + offset + 4] = (value << 16).to_bytes(4, "big", signed=True)
    path.write_bytes(bytes(data))
    return path


def white_corner(image: np.ndarray) -> str:
    """Where the white quarter stands."""
    rows, columns = np.nonzero(image[..., 0] > 200)
    height, width = image.shape[:2]
    return ("upper " if rows.mean() < height / 2 else "lower ") + ("left" if columns.mean() < width / 2 else "right")


@pytest.mark.parametrize(
    ("matrix", "corner", "shape"),
    [
        ((1, 0, 0, 1), "upper left", (64, 128)),
        ((-1, 0, 0, 1), "upper right", (64, 128)),  # a mirror
        ((1, 0, 0, -1), "lower left", (64, 128)),
        ((-1, 0, 0, -1), "lower right", (64, 128)),  # half a turn
        ((0, 1, -1, 0), "upper right", (128, 64)),  # a quarter turn, clockwise
        ((0, -1, 1, 0), "lower left", (128, 64)),
        ((0, 1, 1, 0), "upper left", (128, 64)),  # a quarter turn and a mirror
    ],
)
def test_a_video_is_seen_as_players_show_it(tmp_path, matrix, corner, shape):
    (frame, *_) = read_frames(with_matrix(write_h264(tmp_path / "v.mp4", [0, 4, 8]), *matrix))
    assert frame.image is not None and frame.image.shape[:2] == shape and white_corner(frame.image) == corner


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    path = write_h264(tmp_path / "v.mp4", [0, 4], sample_aspect_ratio=Fraction(4, 3))
    assert {image.shape for image in shown(list(read_frames(path)))} == {(64, 171, 3)}


def test_a_frame_has_its_own_time(tmp_path):
    times = [0, 4, 32, 36, 120]
    frames = list(read_frames(write_h264(tmp_path / "v.mp4", times)))
    assert [round(frame.seconds * 100) for frame in frames] == times and len(shown(frames)) == 5


def test_frames_behind_a_damaged_one_keep_their_numbers(tmp_path):
    path = write_h264(tmp_path / "v.mp4", [4 * n for n in range(24)])
    whole = shown(list(read_frames(path)))
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for place, size in packets[13:16]:
        assert place is not None
        data[place : place + size] = bytes(size)
    path.write_bytes(bytes(data))
    frames = list(read_frames(path))
    assert [frame.number for frame in frames] == list(range(1, 25))
    lost = [frame.number for frame in frames if frame.image is None]
    assert lost and lost[0] > 1 and lost[-1] < 24 and len(lost) < 12
    first, *_, last = shown(frames)
    assert np.array_equal(last, whole[-1]) and np.array_equal(first, whole[0])


def test_a_video_that_is_cut_short_states_more_than_it_has(tmp_path):
    path = write_h264(tmp_path / "v.mp4", [4 * n for n in range(24)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    assert 0 < len(shown(list(read_frames(path)))) < 24 == stated_frames(path)


def test_a_name_is_no_protocol_and_a_playlist_no_video(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:").mkdir()
    path = write_h264(tmp_path / "v.mp4", [0, 4])
    odd = path.rename(tmp_path / "http:" / "what? a:b%20.mp4").relative_to(tmp_path)
    assert len(list(read_frames(odd))) == 2
    Path("list.mp4").write_text(f"ffconcat version 1.0\nfile '{odd}'\n")
    with pytest.raises(UnreadableMedia, match=r"playlist|no decodable"):
        list(read_frames(Path("list.mp4")))


def test_read_frames(tmp_path, astronaut):
    frames = list(read_frames(write_video(tmp_path / "v.avi", [astronaut, GREY])))
    assert [(frame.number, round(frame.seconds, 3)) for frame in frames] == [(1, 0.0), (2, 0.033)]
    first, second = shown(frames)
    assert first.shape == second.shape == astronaut.shape
    assert np.abs(first.astype(int) - astronaut).mean() < 6 and np.abs(second.astype(int) - 128).mean() < 2
    assert frames_per_second(tmp_path / "v.avi") == pytest.approx(30) and stated_frames(tmp_path / "v.avi") == 2


@pytest.mark.parametrize(("data", "reason"), [(None, "missing"), (b"", "empty"), (b"garbage" * 99, "no decodable")])
def test_damaged_videos_are_told(tmp_path, data, reason):
    path = tmp_path / "v.mp4"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UnreadableMedia, match=reason):
        list(read_frames(path))


def test_a_video_whose_codec_nobody_knows_is_told(tmp_path):
    path = write_h264(tmp_path / "v.mp4", [0, 4])
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    for read in (stated_frames, frames_per_second, lambda path: list(read_frames(path))):
        with pytest.raises(UnreadableMedia):
            read(path)


def audio_with_cover(path: Path) -> Path:
    """A sound file as music players have it: tones, and a picture of what it is."""
    with av.open(str(path), "w", format="mp4") as container:
        picture = container.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
        picture.disposition = Disposition.attached_pic
        sound = container.add_stream("aac", rate=16000)
        container.mux(picture.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, np.uint8))))
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        tone.sample_rate = 16000
        container.mux(sound.encode(tone))
        container.mux([*picture.encode(), *sound.encode()])
    return path


def test_cover_art_is_no_video(tmp_path):
    with pytest.raises(UnreadableMedia, match="no decodable video stream"):
        list(read_frames(audio_with_cover(tmp_path / "song.mp4")))
