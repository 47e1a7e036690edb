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


def test_what_of_a_folder_is_not_used_is_told_once_a_reason(tmp_path, capsys):
    used = ["a.jpg", "b.MP4"]
    hidden = [".DS_Store", "._a.jpg", ".trash/old.jpg", "__MACOSX/a.jpg"]
    for name in (*used, *hidden, "notes.txt", "deep/table.csv", "phone.HEIC"):
        write(tmp_path / name, b"")
    assert find_media(tmp_path) == [tmp_path / name for name in used]
    told = capsys.readouterr().err.splitlines()
    assert f"passed over, hidden: {tmp_path}/.DS_Store and 3 more" in told
    assert f"passed over, no decoder of HEIC is at hand; save it as JPEG or PNG: {tmp_path}/phone.HEIC" in told
    (other,) = (line for line in told if "not a picture or video (" in line)
    assert other.endswith(f": {tmp_path}/deep/table.csv and 1 more") and len(told) == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("phone.heic", "no decoder of HEIC is at hand; save it as JPEG or PNG"),
        ("notes.txt", r"not a picture or video \(.avi, "),
        ("gone.jpg", "no such file or folder"),
    ],
)
def test_a_file_that_cannot_be_predicted_is_wrong_usage(tmp_path, name, reason):
    if name != "gone.jpg":
        write(tmp_path / name, b"")
    with pytest.raises(MienError, match=f"{name}: {reason}") as caught:
        find_media(tmp_path / name)
    assert caught.value.exit_code == 2


def test_a_file_that_is_asked_for_by_name_may_be_hidden(tmp_path):
    write(tmp_path / ".me.jpg", b"")
    assert find_media(tmp_path / ".me.jpg") == [tmp_path / ".me.jpg"]


def test_videos_are_told_where_crops_are_asked_for(tmp_path, capsys):
    for name in ("clip/00001.jpg", "clip/._00002.jpg", "whole.mp4"):
        write(tmp_path / name, grey_jpeg(9))
    assert ReadyCrops.sources(tmp_path) == [tmp_path / "clip"]
    assert f"passed over, --crops takes pictures alone: {tmp_path}/whole.mp4\n" in capsys.readouterr().err
    assert [(row.frame, row.face is not None) for row in ReadyCrops().faces(tmp_path / "clip")] == [(1, True)]


def test_a_folder_without_pictures_is_told(tmp_path):
    write(tmp_path / "clip.mp4", b"")
    with pytest.raises(MienError, match="no picture in it; --crops takes pictures of faces alone"):
        ReadyCrops.sources(tmp_path)
