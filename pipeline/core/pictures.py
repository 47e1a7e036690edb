"""Still pictures as the world makes them, decoded: how large, which way up, whole or truncated.

JPEG is decoded by libjpeg-turbo (simplejpeg), anything else by OpenCV; Pillow reads sizes and EXIF.
"""

import io
from typing import Literal

import cv2
import numpy as np
import simplejpeg
from PIL import Image

MAX_PIXELS = 100_000_000  # of a picture or a frame; the largest camera has as many
READ_BY_PILLOW = ("PNG", "BMP", "WEBP", "TIFF", "AVIF", "GIF")
ORIENTATION = 0x0112  # the EXIF tag
JPEG_START, EXIF = b"\xff\xd8", b"Exif\0\0"
FIRST_SEGMENTS = 1 << 18  # bytes of a JPEG in which its EXIF begins: other segments may stand before it

Colours = Literal["BGR", "GRAY"]

Image.MAX_IMAGE_PIXELS = None  # sizes are judged here, with an error of our own


class UnreadableMedia(Exception):
    """A file that cannot be decoded; the message is the reason that `failures.parquet` keeps."""


def decode_image(data: bytes, colours: Colours = "BGR") -> np.ndarray:
    """Decode a picture, turned as its EXIF says: uint8 (H, W, 3) in BGR, or (H, W) in grey; of several, the first.

    Its size is looked up before: a few hundred bytes may ask for ten gigabytes. A truncated JPEG is an error, not a
    grey-bottomed picture, with an end marker or without; bytes behind a whole one (a phone's motion photo) are no harm.
    """
    if not data:
        raise UnreadableMedia("file is empty")
    try:
        return _decode_jpeg(data, colours) if data[:2] == JPEG_START else _decode_other(data, colours)
    except (cv2.error, MemoryError) as error:
        raise UnreadableMedia(f"not a decodable picture ({str(error).strip().splitlines()[-1][:80]})") from None


def orientation(data: bytes) -> int:
    """The EXIF orientation of a picture, 1 (upright) to 8; 1 where it states none."""
    if data[:2] == JPEG_START and EXIF not in data[:FIRST_SEGMENTS]:  # Pillow would cost a crop 0.1 ms to find none
        return 1
    try:
        with Image.open(io.BytesIO(data)) as picture:
            stated = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises whatever damaged metadata lead to, and they are no fault of the pixels
        return 1
    return stated if stated in range(1, 9) else 1


def upright(image: np.ndarray, stated: int) -> np.ndarray:
    """The image (H, W, ...) as EXIF orientation `stated` wants it shown (EXIF 2.32, tag 0x0112)."""
    if stated >= 5:
        image = image.swapaxes(0, 1)  # 5 is the transpose; 6, 7, 8 are that and a mirror
    if stated in (2, 3, 6, 7):
        image = image[:, ::-1]
    if stated in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _decode_jpeg(data: bytes, colours: Colours) -> np.ndarray:
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        raise UnreadableMedia("JPEG is truncated or damaged") from None
    _check_size(width, height)
    try:
        image = simplejpeg.decode_jpeg(data, colours, strict=True)
    except ValueError as error:
        if "premature end" in str(error).lower():
            raise UnreadableMedia("JPEG is truncated") from None
        image = _by_opencv(data, colours)  # four colours, or an oddity that libjpeg warns of and shows
    image = image.reshape(image.shape[:2]) if colours == "GRAY" else image
    return upright(image, orientation(data))


def _decode_other(data: bytes, colours: Colours) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=READ_BY_PILLOW) as picture:
            _check_size(*picture.size)
            avif = picture.format == "AVIF"
    except UnreadableMedia:
        raise
    except Exception:  # Pillow's, and what damaged headers lead to within it: RuntimeError, SyntaxError, struct.error
        raise UnreadableMedia("not a decodable picture") from None
    image = _by_opencv(data, colours)
    return upright(image, orientation(data)) if avif else image  # the other kinds are turned by OpenCV


def _by_opencv(data: bytes, colours: Colours) -> np.ndarray:
    """Decoded by OpenCV, a JPEG without the turn that EXIF asks for."""
    flags = cv2.IMREAD_COLOR if colours == "BGR" else cv2.IMREAD_GRAYSCALE
    if data[:2] == JPEG_START:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise UnreadableMedia("not a decodable picture")
    return image


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableMedia(f"{width}x{height} pixels, more than {MAX_PIXELS // 1_000_000} million")
