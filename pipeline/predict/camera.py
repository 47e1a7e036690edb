"""`mien predict --camera N`: a row a frame, as it comes, until Ctrl-C."""

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from pipeline.core.errors import MienError
from pipeline.faces.media import Frame
from pipeline.predict.members import Home
from pipeline.predict.places import Places
from pipeline.predict.predictor import Predictor
from pipeline.predict.table import Row
from pipeline.predict.writer import RowWriter


class Capture(Protocol):
    """What of `cv2.VideoCapture` is used."""

    def read(self) -> tuple[bool, np.ndarray]:
        """Whether there is a next frame, and it: BGR uint8 (H, W, 3)."""
        ...

    def release(self) -> None:
        """Give the device back."""
        ...


def open_camera(number: int) -> Capture:
    """The camera of that number, as the system counts; `MienError` where there is none."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a line for each backend that has none
    try:
        capture = cv2.VideoCapture(number)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not capture.isOpened():
        raise MienError(f"--camera {number}: no such camera, or another program has it", exit_code=2)
    return capture


def frames_of(capture: Capture, now: Callable[[], float] = time.monotonic) -> Iterator[Frame]:
    """Its frames with the seconds since the first, until it gives no more."""
    first: float | None = None
    for number in itertools.count(1):
        good, image = capture.read()
        if not good:
            return
        at = now()
        first = at if first is None else first
        yield Frame(number, at - first, image)


def predict_camera(
    number: int,
    places: Places,
    homes: Mapping[str, Home] | None = None,
    *,
    people: bool = False,
    opened: Callable[[int], Capture] = open_camera,
) -> int:
    """Write a camera's rows until Ctrl-C, which is its proper end, or until it gives no more frames, which is exit 1.

    Each frame is scored by itself: what comes after it, by which videos are smoothed, is not there yet.
    """
    if places.overlay or places.timeline or places.resume:
        raise MienError("--camera writes rows alone: leave out --overlay, --timeline and --resume", exit_code=2)
    name = f"camera {number}"
    places.check(Path(name))
    out = sys.stdout
    with contextlib.nullcontext() if places.table else contextlib.redirect_stdout(sys.stderr):
        capture = opened(number)
        try:
            predictor = Predictor(homes, people=people)
            writer = RowWriter(places.table or out.buffer, predictor.columns.schema(), json_lines=places.json_lines)
            for line in (*predictor.told, f"{name}: Ctrl-C ends it"):
                print(line, flush=True)
            ended = _write(predictor.live(frames_of(capture), name), writer)
        finally:
            capture.release()
        if ended:
            print(f"{name}: gives no more frames", file=sys.stderr)
        print(f"{writer.name}: {writer.count} rows")
    return 1 if ended else 0


def _write(live: Iterator[list[Row]], writer: RowWriter) -> bool:
    """Write rows as they come; whether they ended by themselves, and not by Ctrl-C."""
    with contextlib.closing(writer):
        try:
            for rows in live:
                writer.write(rows)
        except KeyboardInterrupt:
            return False
    return True
