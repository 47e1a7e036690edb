"""Reading pictures and videos that may be damaged."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "8")  # damaged files are reported by us, once, not a line a packet

import cv2
import numpy as np


class UnreadableMedia(Exception):
    """A file that cannot be decoded; the message is the reason that `failures.parquet` keeps."""


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """All frames of a video in one forward pass, BGR uint8 (H, W, 3): seeking would cost thirteen times as much."""
    if not path.is_file():
        raise UnreadableMedia("file is missing")
    if path.stat().st_size == 0:
        raise UnreadableMedia("file is empty")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise UnreadableMedia("no decodable video stream")
        while True:
            ok, frame = capture.read()
            if not ok:
                return
            yield frame
    finally:
        capture.release()


def frames_per_second(path: Path) -> float:
    """The container's frame rate; 25 where it states none."""
    capture = cv2.VideoCapture(str(path))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return rate if 1 <= rate <= 240 else 25.0


def decode_image(data: bytes) -> np.ndarray:
    """Decode a picture to BGR uint8 (H, W, 3); a truncated JPEG is an error, not a grey-bottomed picture."""
    if not data:
        raise UnreadableMedia("file is empty")
    if data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[-64:]:
        raise UnreadableMedia("JPEG is truncated (no end marker)")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise UnreadableMedia("not a decodable picture")
    return image
