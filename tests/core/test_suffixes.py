"""One table of suffixes: what it calls a picture or a video is read, tried with a file of each."""

import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.core.code import PACKAGES, ROOT
from pipeline.core.pictures import decode_image
from pipeline.core.suffixes import IMAGE_SUFFIXES, UNREAD, VIDEO_SUFFIXES, is_image, is_video, why_unread
from pipeline.faces.media import read_frames
from pipeline.validate.videos import why_undecodable

CODECS = {
    ".avi": "mpeg4",
    ".webm": "libvpx-vp9",
    ".wmv": "wmv2",
    ".gif": "gif",
    ".mpg": "mpeg1video",
    ".mpeg": "mpeg2video",
}
CONTAINERS = {".m4v": "mp4", ".mts": "mpegts", ".m2ts": "mpegts", ".wmv": "asf", ".mpg": "mpeg", ".mpeg": "mpeg"}


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_a_picture_of_every_suffix_is_read(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    Image.new("RGB", (40, 30), (200, 30, 30)).save(path)
    assert path.read_bytes()[:4] and decode_image(path.read_bytes()).shape == (30, 40, 3)
    assert is_image(path.name.upper()) and not is_video(path.name)


def write_moving(path: Path) -> None:
    """Five frames of 64 x 48 that grow lighter."""
    suffix = path.suffix
    with av.open(str(path), "w", format=CONTAINERS.get(suffix)) as out:
        stream: Any = out.add_stream(CODECS.get(suffix, "libx264"), rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8" if suffix == ".gif" else "yuv420p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * number, np.uint8), format="bgr24")
            out.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        out.mux(stream.encode(None))


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_a_video_of_every_suffix_is_read(tmp_path, suffix):
    path = tmp_path / f"video{suffix}"
    write_moving(path)
    frames = [frame.image for frame in read_frames(path)]
    assert len(frames) == 5 and is_video(path.name.upper()) and not is_image(path.name)
    means = [image.mean() for image in frames if image is not None]
    assert means == pytest.approx([0, 40, 80, 120, 160], abs=25) and sorted(means) == means
    assert why_undecodable(path) == ""


def test_what_is_known_and_not_read_has_its_mend():
    for suffixes in UNREAD:
        for suffix in suffixes:
            assert "save it as JPEG or PNG" in why_unread(f"x{suffix.upper()}") and not is_image(f"x{suffix}")
    assert why_unread("x.jpg") == why_unread("notes.txt") == ""


def test_no_other_table_of_suffixes():
    """Two or more of them in one line of code are a table of one's own."""
    several = re.compile(r"""(["']\.(jpe?g|png|mp4|mov|avi|mkv|webm|gif|tiff?|webp|bmp|heic|avif)["'].*){2}""")
    allowed = {"pipeline/core/suffixes.py", "pipeline/validate/images.py", "demo/generator/film.py"}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if path.relative_to(ROOT).as_posix() not in allowed:
                assert not [line for line in path.read_text().splitlines() if several.search(line)], path
