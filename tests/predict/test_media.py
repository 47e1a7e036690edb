"""Ready crops: a folder of frames is one video, any other picture stands alone."""

from pathlib import Path

import pytest

from pipeline.cli import parser
from pipeline.core.errors import MienError
from pipeline.core.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES
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
    assert ReadyCrops.sources(tmp_path).used == [tmp_path / "clip", tmp_path / "portrait.png"]
    rows = list(ReadyCrops().faces(tmp_path / "clip"))
    assert [(row.frame, row.seconds, row.face is not None) for row in rows] == [
        *((1, None, True), (2, None, True), (3, None, False), (4, None, True), (5, None, False)),
    ]
    assert rows[3].face and rows[3].face.jpeg == grey_jpeg(200)  # byte for byte
    assert "00005.jpg" in capsys.readouterr().err
    (row,) = ReadyCrops().faces(tmp_path / "portrait.png")
    assert row.frame == 1 and row.face


def test_what_of_a_folder_is_not_used_is_told_once_a_reason(tmp_path):
    used = ["a.jpg", "b.MP4"]
    hidden = [".DS_Store", "._a.jpg", ".trash/old.jpg", "__MACOSX/a.jpg"]
    for name in (*used, *hidden, "notes.txt", "deep/table.csv", "phone.HEIC", "fooled\u202e.jpg"):
        write(tmp_path / name, b"")
    listing = find_media(tmp_path)
    assert listing.used == [tmp_path / name for name in used]
    told = listing.passed_over()
    assert any(line.startswith(f"passed over, hidden: 4 files, {tmp_path}/.DS_Store, ") for line in told)
    assert any(line.endswith("/.trash/old.jpg and others") for line in told)
    heic = "passed over, no decoder of HEIC is at hand; save it as JPEG or PNG"
    assert f"{heic}: 1 file, {tmp_path}/phone.HEIC" in told
    others = f"2 files, {tmp_path}/deep/table.csv, {tmp_path}/notes.txt"
    assert f"passed over, not a picture or video by its suffix: {others}" in told and len(told) == 4
    (fooled,) = (line for line in told if "its name has characters that cannot be printed; rename it: 1 file" in line)
    assert fooled.isprintable() and "fooled\\u202e.jpg" in fooled


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("phone.heic", "no decoder of HEIC is at hand; save it as JPEG or PNG"),
        ("notes.txt", "not a picture or video by its suffix"),
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
    assert find_media(tmp_path / ".me.jpg").used == [tmp_path / ".me.jpg"]


def test_the_help_names_every_suffix(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["predict", "--help"])
    words = {word.rstrip(".") for word in capsys.readouterr().out.split()}
    assert {*IMAGE_SUFFIXES, *VIDEO_SUFFIXES} <= words


def test_videos_are_told_where_crops_are_asked_for(tmp_path):
    for name in ("clip/00001.jpg", "clip/._00002.jpg", "whole.mp4"):
        write(tmp_path / name, grey_jpeg(9))
    assert ReadyCrops.sources(tmp_path).used == [tmp_path / "clip"]
    told = ReadyCrops.sources(tmp_path).passed_over()
    assert f"passed over, --crops takes pictures alone: 1 file, {tmp_path}/whole.mp4" in told
    assert [(row.frame, row.face is not None) for row in ReadyCrops().faces(tmp_path / "clip")] == [(1, True)]


def test_a_folder_without_pictures_is_told(tmp_path):
    write(tmp_path / "clip.mp4", b"")
    with pytest.raises(MienError, match="no picture in it; --crops takes pictures of faces alone"):
        ReadyCrops.sources(tmp_path)
