"""Videos as the world makes them: what decodes, and what a damaged file still gives.

They are decoded by FFmpeg through PyAV: the same pixels as OpenCV's reader gives (to the last bit on all that was
compared) at the same cost, and beyond it each frame's own time, the frames behind a damaged one, display matrices with
mirrors, and pixels that are not square.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.logging
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from pipeline.core.pictures import MAX_PIXELS, UnreadableMedia

av.logging.set_level(av.logging.PANIC)  # damaged files are reported by us, once, not a line a packet

PLAYLISTS = ("concat", "hls", "dash", "sdp", "rtsp", "m3u")  # a text that names other files is no video


@dataclass(frozen=True)
class Frame:
    """One frame of a video, as it is shown: BGR uint8 (H, W, 3), None where it could not be decoded.

    `number` is its place in the container, from 1; `seconds` its own time, from the first frame's.
    """

    number: int
    seconds: float
    image: np.ndarray | None


def read_frames(path: Path) -> Iterator[Frame]:
    """Every frame that the container holds, in the order of showing, in one forward pass.

    A frame that does not decode comes without an image, so that those behind it keep their numbers. Raises
    `UnreadableMedia` where nothing of the file is a video.
    """
    times = _presentation_times(path)
    number, decoded = 0, False
    with _opened(path) as container:
        stream = _moving(container)
        base = float(stream.time_base or 0)
        first = times[0] if times else 0
        convert = VideoReformatter()  # one for all frames: it keeps its tables
        places = {time: place for place, time in enumerate(times, 1)}
        for frame in _decoded(container, stream):
            place = max(number + 1, places.get(frame.pts or 0, number + 1) if places else number + 1)
            for lost in range(number + 1, place):
                yield Frame(lost, (times[lost - 1] - first) * base, None)
            seconds = ((frame.pts or 0) - first) * base if times else float(frame.time or 0)
            number, decoded = place, True
            yield Frame(number, seconds, _as_shown(frame, stream, convert))
    if not decoded:
        raise UnreadableMedia("no frame could be decoded")
    for lost in range(number + 1, len(times) + 1):
        yield Frame(lost, (times[lost - 1] - first) * base, None)


def stated_frames(path: Path) -> int:
    """How many frames the container says that it holds; 0 where it says nothing."""
    with _opened(path) as container:
        return _moving(container).frames


def frames_per_second(path: Path) -> float:
    """The mean frame rate; 25 where the container states none."""
    with _opened(path) as container:
        return float(_moving(container).average_rate or 25)


def _opened(path: Path) -> av.container.InputContainer:
    if not path.is_file():
        raise UnreadableMedia("file is missing")
    if path.stat().st_size == 0:
        raise UnreadableMedia("file is empty")
    try:
        # `file:`, or a colon in the name would be a protocol
        container = av.open(f"file:{path}", metadata_errors="replace")
    except (av.FFmpegError, ValueError):
        raise UnreadableMedia("no decodable video stream") from None
    if any(name in container.format.name for name in PLAYLISTS):
        container.close()
        raise UnreadableMedia(f"a playlist ({container.format.name}), no video")
    return container


def _moving(container: av.container.InputContainer) -> VideoStream:
    """The first video stream that moves: cover art is a picture."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise UnreadableMedia("no decodable video stream")
    stream = streams[0]
    if stream.codec_context is None:  # and whatever is asked of the stream is an AttributeError
        raise UnreadableMedia("its codec is not known")
    if stream.width * stream.height > MAX_PIXELS:
        raise UnreadableMedia(f"{stream.width}x{stream.height} pixels a frame")
    return stream


def _presentation_times(path: Path) -> list[int]:
    """When each frame is shown, in the stream's own units, sorted; empty where the container does not tell."""
    times: list[int] = []
    with _opened(path) as container:
        stream = _moving(container)
        try:
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    if packet.pts is None:
                        return []
                    times.append(packet.pts)
        except av.FFmpegError:
            pass  # cut short: what came before stands
    return sorted(times) if len(set(times)) == len(times) else []


def _decoded(container: av.container.InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """The frames that decode; a packet that does not is passed over."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield from packet.decode()
        except av.FFmpegError:
            continue


def _as_shown(frame: VideoFrame, stream: VideoStream, convert: VideoReformatter) -> np.ndarray:
    """A frame as players show it: its display matrix applied, its pixels square."""
    # bicubic, as OpenCV's reader converts colours
    image: np.ndarray = convert.reformat(frame, format="bgr24", interpolation=Interpolation.BICUBIC).to_ndarray()
    ratio = stream.sample_aspect_ratio
    if ratio and ratio != 1:
        image = cv2.resize(image, (max(1, round(image.shape[1] * float(ratio))), image.shape[0]))
    matrix: Any = frame.side_data.get(SideData.DISPLAYMATRIX)  # type: ignore[call-overload]
    return image if matrix is None else _turned(image, np.frombuffer(bytes(matrix), np.int32).reshape(3, 3))


def _turned(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The image under a display matrix of quarter turns and mirrors (ISO 14496-12: x' = ax + cy, y' = bx + dy)."""
    (a, b), (c, d) = matrix[:2, :2]
    if abs(b) > abs(a):
        image, (a, d) = image.transpose(1, 0, 2), (c, b)
    if a < 0:
        image = image[:, ::-1]
    if d < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)
