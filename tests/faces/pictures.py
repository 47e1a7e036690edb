"""Pictures and videos made on the spot, and where the landmarks of a face must lie."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import simplejpeg

from pipeline.faces.detections import Detections

GREY = np.full((256, 256, 3), 128, np.uint8)


def jpeg_of(image: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=90, colorspace="BGR")


def write_video(path: Path, frames: Sequence[np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def write_h264(path: Path, times: list[int], **settings: Any) -> Path:
    """A video of 128 x 64 whose frames have a white left upper quarter and a level of grey each; times in 1/100 s."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("libx264", rate=25, options={"g": "4", "bf": "2", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        stream.time_base = Fraction(1, 100)
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for number, time in enumerate(times):
            image = np.full((64, 128, 3), 10 * number % 200, np.uint8)
            image[:32, :64] = 255
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = time, Fraction(1, 100)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def check_landmarks(faces: Detections) -> None:
    low, high = faces.boxes[:, None, :2], faces.boxes[:, None, 2:]
    assert ((faces.landmarks >= low) & (faces.landmarks <= high)).all()
    left_eye, right_eye, nose, left_mouth, right_mouth = faces.landmarks.transpose(1, 0, 2)
    assert (left_eye[:, 0] < right_eye[:, 0]).all() and (left_mouth[:, 0] < right_mouth[:, 0]).all()
    assert (np.maximum(left_eye, right_eye)[:, 1] < nose[:, 1]).all()
    assert (nose[:, 1] < np.minimum(left_mouth, right_mouth)[:, 1]).all()
    assert ((faces.scores > 0.7) & (faces.scores <= 1)).all()
