"""Pictures and videos with what was predicted drawn on them."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from pipeline.abaw.tracks import AUS, EXPRESSIONS
from pipeline.core.files import atomic_path
from pipeline.core.pictures import decode_image
from pipeline.faces.media import frames_per_second, read_frames

TIME_BASE = Fraction(1, 90_000)  # of a video's clock, as MPEG counts
INK, SHADE, BAR = (255, 255, 255), (30, 30, 30), (90, 200, 250)
Prediction = dict[str, Any]


def draw(frame: np.ndarray, rows: list[Prediction]) -> np.ndarray:
    """A copy of a BGR frame with each found face's box, expression bars, valence, arousal and active AUs."""
    out = frame.copy()
    scale = max(0.4, min(out.shape[:2]) / 700)
    found = [row for row in rows if row["found"]]
    for row in found:
        x1, y1, x2, y2 = (round(row[name]) for name in ("x1", "y1", "x2", "y2"))
        cv2.rectangle(out, (x1, y1), (x2, y2), BAR, max(1, round(2 * scale)))
        if "expression" in row:
            likeliest = f"{row['expression']} {row['p_' + row['expression']]:.2f}"
            likeliest = f"{row['person']}: {likeliest}" if row.get("person") else likeliest
            _text(out, likeliest, (x1, max(round(14 * scale), y1 - 5)), scale)
    if len(found) == 1:
        _panel(out, found[0], scale)
    elif not found:
        _text(out, "no face", (round(10 * scale), round(24 * scale)), scale)
    return out


def _text(image: np.ndarray, text: str, at: tuple[int, int], scale: float) -> None:
    thickness = max(1, round(scale * 1.5))
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale * 0.6, SHADE, thickness + 2, cv2.LINE_AA)
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale * 0.6, INK, thickness, cv2.LINE_AA)


def _panel(image: np.ndarray, row: Prediction, scale: float) -> None:
    """Bars of the expressions, then valence and arousal, then the active units, in the left top corner."""
    step, width = round(19 * scale), round(90 * scale)
    expressions = [name for name in EXPRESSIONS if f"p_{name}" in row]
    for number, name in enumerate(expressions, 1):
        y = number * step
        cv2.rectangle(image, (4, y - step + 4), (4 + round(width * row[f"p_{name}"]), y), BAR, -1)
        _text(image, name, (6, y - 2), scale * 0.75)
    y = len(expressions) * step
    if "valence" in row:
        y += step
        _text(image, f"V {row['valence']:+.2f}  A {row['arousal']:+.2f}", (6, y), scale * 0.75)
    if AUS[0] in row:
        active = " ".join(unit for unit in AUS if row[f"{unit}_active"])
        _text(image, active or "no AU", (6, y + step), scale * 0.75)


def with_ending(target: Path, suffix: str) -> Path:
    """`clip.mov` to `clip.mov.mp4`: two files that differ in their suffix alone keep two copies."""
    return target if target.suffix.lower() == suffix else target.with_name(target.name + suffix)


def overlay_video(source: Path, rows: list[Prediction], target: Path) -> None:
    """Write an mp4 of `source` with the rows of each frame drawn on it."""
    by_frame: dict[int, list[Prediction]] = {}
    for row in rows:
        by_frame.setdefault(row["frame"], []).append(row)
    target = with_ending(target, ".mp4")
    with atomic_path(target) as temporary, av.open(str(temporary), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=Fraction(frames_per_second(source)).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"  # what every browser plays
        stream.time_base = stream.codec_context.time_base = TIME_BASE
        shown: np.ndarray | None = None
        for frame in read_frames(source):
            shown = frame.image if frame.image is not None else shown  # a lost frame shows the one before it
            if shown is None:
                continue
            drawn = _even(draw(shown, by_frame.get(frame.number, [])))
            if not stream.codec_context.is_open:
                stream.height, stream.width = drawn.shape[:2]
            # a video may change its size on the way
            drawn = cv2.resize(drawn, (stream.width, stream.height)).astype(np.uint8, copy=False)
            picture = av.VideoFrame.from_ndarray(drawn, format="bgr24")
            picture.pts, picture.time_base = round(frame.seconds / TIME_BASE), TIME_BASE
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))


def _even(image: np.ndarray) -> np.ndarray:
    """H.264 wants even sides: a column or a row is repeated where one is odd."""
    height, width = image.shape[:2]
    return cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)


def overlay_picture(source: Path, rows: list[Prediction], target: Path) -> None:
    """Write a PNG of `source` with its rows drawn on it."""
    _, png = cv2.imencode(".png", draw(decode_image(source.read_bytes()), rows))
    with atomic_path(with_ending(target, ".png")) as temporary:
        temporary.write_bytes(png.tobytes())
