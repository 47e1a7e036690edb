"""Copies of a release: other names and bytes, the same pictures and rows; and what is told of growth."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from bench.growth import at_size, exponent
from bench.multiply import distinct, multiplied_text, multiply, renamed
from pipeline.abaw.names import is_video_name
from pipeline.release.discover import find_release
from tests.abaw_fixture import TEST_FRAMES, VIDEO_FRAMES, make_release


@pytest.mark.parametrize("name", ["122", "122-60-192x160-3", "130-25-1280x720_left", "video10_1_right"])
def test_a_copy_has_an_official_name_of_its_own(name):
    names = [renamed(name, copy) for copy in range(4)]
    assert names[0] == name and len(set(names)) == 4 and all(map(is_video_name, names))
    assert renamed("00007.jpg", 2) == "20007.jpg" and renamed("7/00001.jpg,0,0", 1) == "10007/00001.jpg,0,0"


def test_lists_keep_one_header():
    assert multiplied_text("image_location,a\n7/00001.jpg,\n", 2) == (
        "image_location,a\n7/00001.jpg,\n10007/00001.jpg,\n"
    )
    assert multiplied_text("7\nvideo3_1\n", 2) == "7\nvideo3_1\n10007\nvideo10003_1\n"


@pytest.mark.parametrize(("suffix", "code"), [(".mp4", "mp4v"), (".avi", "MJPG"), (".jpg", "")])
def test_other_bytes_show_the_same(tmp_path: Path, suffix, code):
    frames = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3)).astype(np.uint8)
    path = tmp_path / f"one{suffix}"
    if code:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 25, (64, 64))
        for frame in frames:
            writer.write(frame)
        writer.release()
    else:
        cv2.imwrite(str(path), frames[0])
    other = tmp_path / f"other{suffix}"
    other.write_bytes(distinct(path.read_bytes(), suffix, 3))
    assert other.read_bytes() != path.read_bytes() and distinct(path.read_bytes(), suffix, 0) == path.read_bytes()
    one, two = _shown(path), _shown(other)
    assert len(one) == (5 if code else 1) and np.array_equal(one, two)


def _shown(path: Path) -> np.ndarray:
    if path.suffix == ".jpg":
        return simplejpeg.decode_jpeg(path.read_bytes())[None]
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(read[1])
    return np.stack(frames)


def test_a_release_of_three_times_as_much_is_a_release(tmp_path: Path):
    make_release(tmp_path / "one")
    multiply(tmp_path / "one", tmp_path / "three", 3)
    one, three = find_release(tmp_path / "one"), find_release(tmp_path / "three")
    assert len(three.annotations) == 3 * len(one.annotations) == 3 * 3 * len(VIDEO_FRAMES)
    assert len(three.crops) == 3 * len(one.crops) and len(one.crops) >= len(VIDEO_FRAMES | TEST_FRAMES)
    pictures = [path.read_bytes() for path in (tmp_path / "three").rglob("*.jpg")]
    assert len(pictures) == 3 * len(list((tmp_path / "one").rglob("*.jpg")))
    originals = {path.read_bytes() for path in (tmp_path / "one").rglob("*.jpg")}
    assert len(set(pictures)) == 3 * len(originals)


@pytest.mark.parametrize("wanted", [1.0, 1.5, 2.0])
def test_the_exponent_is_that_of_what_grows(wanted):
    sizes = [10, 40, 160]
    assert exponent(sizes, [7 + 0.1 * size**wanted for size in sizes]) == pytest.approx(wanted, abs=0.01)


def test_what_hardly_grows_has_no_exponent():
    assert exponent([10, 40, 160], [7.0, 7.2, 7.4]) is None
    assert exponent([10, 40, 160], [7.0, 9.0, 8.5]) is None
    assert exponent([40, 160, 640], [3.87, 3.94, 5.22]) is None  # the step between the first two is noise
    assert exponent([10, 40], [1.0, 40.0]) is None
    assert at_size([10, 20], [5.0, 7.0], 100) == pytest.approx(23)
    assert at_size([10, 20], [7.0, 5.0], 100) == 5
