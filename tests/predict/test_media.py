"""Ready crops: a folder of frames is one video, any other picture stands alone."""

from pathlib import Path

import pytest

from pipeline.core.errors import MienError
from pipeline.predict.media import ReadyCrops, find_media
from tests.mini import grey_jpeg


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_folders_of_frames_are_videos_and_gaps_in_them_have_no_face(tmp_path, capsys):
    for frame in (1, 2, 4):
        write(tmp_path / f"clip/{frame:05d}.jpg", grey_jpeg(50 * frame))
    write(tmp_path / "clip/00005.jpg", b"no picture")
    write(tmp_path / "portrait.png", grey_jpeg(9))
    assert ReadyCrops.sources(tmp_path) == [tmp_path / "clip", tmp_path / "portrait.png"]
    rows = list(ReadyCrops().faces(tmp_path / "clip"))
    assert [(row.frame, row.seconds, row.face is not None) for row in rows] == [
        *((1, None, True), (2, None, True), (3, None, False), (4, None, True), (5, None, False)),
    ]
    assert rows[3].face and rows[3].face.jpeg == grey_jpeg(200)  # byte for byte
    assert "00005.jpg" in capsys.readouterr().err
    (row,) = ReadyCrops().faces(tmp_path / "portrait.png")
    assert row.frame == 1 and row.face


def test_what_is_neither_picture_nor_video_is_passed_over_aloud(tmp_path, capsys):
    for name in ("a.jpg", "b.MP4", "notes.txt", "deep/table.csv"):
        write(tmp_path / name, b"")
    assert find_media(tmp_path) == [tmp_path / "a.jpg", tmp_path / "b.MP4"]
    assert capsys.readouterr().err == f"passed over, no pictures or videos: {tmp_path}/deep/table.csv and 1 more\n"


def test_a_folder_without_pictures_is_told(tmp_path):
    write(tmp_path / "clip.mp4", b"")
    with pytest.raises(MienError, match="no picture in it; --crops takes pictures of faces alone"):
        ReadyCrops.sources(tmp_path)
