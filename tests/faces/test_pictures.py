"""Pictures: every kind that is read, every way up, whole ones and damaged ones."""

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.core.pictures import UnreadableMedia, decode_image, orientation, upright
from tests.faces.pictures import jpeg_of

EXIF_ORIENTATION = 0x0112


def encoded(image: np.ndarray, kind: str, **how: object) -> bytes:
    """A BGR image in some format, by Pillow."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image[..., ::-1])).save(out, kind, **how)
    return out.getvalue()


def test_decode_image_gives_bgr(astronaut):
    difference = np.abs(decode_image(jpeg_of(astronaut)).astype(int) - astronaut)
    assert difference.mean() < 4
    _, png = cv2.imencode(".png", astronaut)
    assert np.array_equal(decode_image(png.tobytes()), astronaut)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: data[:2], "truncated"),
        (lambda data: data[: len(data) // 2] + b"\xff\xd9", "truncated"),
        (lambda data: b"", "empty"),
        (lambda data: b"this is no picture", "not a decodable picture"),
        (lambda data: b"\xff\xd8\xff\xd9", "truncated or damaged"),
        (lambda data: b"\x89PNG\r\n\x1a\n" + data[8:40], "not a decodable picture"),
    ],
)
def test_damaged_pictures_are_told(astronaut, damage, reason):
    with pytest.raises(UnreadableMedia, match=reason):
        decode_image(damage(jpeg_of(astronaut)))


def test_bytes_behind_the_end_of_a_jpeg_are_no_harm(astronaut):
    data = jpeg_of(astronaut)
    assert np.array_equal(decode_image(data + bytes(5000)), decode_image(data))


@pytest.mark.parametrize("behind", [bytes(7), b"ftypmp42", b"\xff\xd8\xff"])
@pytest.mark.parametrize("colours", ["BGR", "GRAY"])
def test_half_a_jpeg_is_half_with_an_end_marker_and_more_behind_it(astronaut, behind, colours):
    data = jpeg_of(astronaut)
    with pytest.raises(UnreadableMedia, match="JPEG is truncated"):
        decode_image(data[: len(data) // 2] + b"\xff\xd9" + behind, colours)


def test_a_picture_that_asks_for_too_much_is_refused_by_its_header(astronaut):
    _, png = cv2.imencode(".png", astronaut)
    header = b"IHDR" + (40_000).to_bytes(4, "big") * 2 + png.tobytes()[24:29]
    huge_png = png.tobytes()[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png.tobytes()[33:]
    jpeg = jpeg_of(astronaut)
    size = jpeg.index(b"\xff\xc0") + 5  # the frame header's height and width
    huge_jpeg = jpeg[:size] + (30_000).to_bytes(2, "big") * 2 + jpeg[size + 4 :]
    for data, side in ((huge_png, 40_000), (huge_jpeg, 30_000)):
        with pytest.raises(UnreadableMedia, match=f"{side}x{side} pixels, more than 100 million"):
            decode_image(data)


KINDS = [("JPEG", {"quality": 98}), ("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})]
KINDS += [("WEBP", {"quality": 98}), ("WEBP", {"lossless": True}), ("AVIF", {"quality": 98}), ("GIF", {})]


@pytest.mark.parametrize(("kind", "how"), KINDS)
def test_every_kind_gives_the_same_picture(astronaut, kind, how):
    data = encoded(astronaut, kind, **how)
    image, grey = decode_image(data), decode_image(data, "GRAY")
    assert image.shape == astronaut.shape and image.dtype == np.uint8 and image.flags.c_contiguous
    assert np.abs(image.astype(int) - astronaut).mean() < (7 if kind == "GIF" else 3)  # 256 colours
    assert grey.shape == astronaut.shape[:2]
    assert np.abs(grey.astype(int) - cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)).mean() < 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("stated", range(1, 9))
@pytest.mark.parametrize("colours", ["BGR", "GRAY"])
def test_a_picture_is_the_way_up_that_its_exif_says(astronaut, kind, stated, colours):
    """The picture is stored as a camera that was held otherwise stores it; decoded it is upright again."""
    shown = np.ascontiguousarray(astronaut[:200])  # sides of two lengths
    inverse = {6: 8, 8: 6}.get(stated, stated)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = stated
    image = decode_image(encoded(upright(shown, inverse), kind, exif=exif, quality=98), colours)
    expected = shown if colours == "BGR" else cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY)
    assert image.shape == expected.shape and np.abs(image.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("stated", range(1, 9))
def test_the_turns_are_those_of_another_reader(astronaut, stated):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = stated
    data = encoded(astronaut[:200], "JPEG", exif=exif, quality=98)
    assert orientation(data) == stated
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)  # OpenCV honours the EXIF of a JPEG
    assert np.abs(decode_image(data).astype(int) - theirs).mean() < 1


@pytest.mark.parametrize("stated", [0, 9, 65535])
def test_an_orientation_that_there_is_not_is_upright(astronaut, stated):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = stated
    assert orientation(encoded(astronaut, "JPEG", exif=exif)) == 1


def test_damaged_exif_costs_no_picture(astronaut):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    data = encoded(astronaut, "JPEG", exif=exif)
    place = data.index(b"Exif") + 6
    for end in (place + 8, place + 20):  # within the byte order, within the first entry
        assert decode_image(data[:place] + b"\xff" * (end - place) + data[end:]).shape == astronaut.shape


def stating(kind: str, side: int) -> bytes:
    """A picture of 8 x 8 pixels whose header says that it has `side` x `side`."""
    data = bytearray(encoded(np.zeros((8, 8, 3), np.uint8), kind, lossless=True))
    if kind == "BMP":
        data[18:26] = side.to_bytes(4, "little") * 2
    elif kind == "GIF":
        data[6:10] = side.to_bytes(2, "little") * 2
    elif kind == "WEBP":
        data[21:25] = (side - 1 | side - 1 << 14).to_bytes(4, "little")  # 14 bits each, less one
    else:
        for tag in (b"\0\1", b"\1\1"):  # ImageWidth, ImageLength
            entry = data.index(tag, 8)
            data[entry : entry + 12] = tag + b"\4\0\1\0\0\0" + side.to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "WEBP", "TIFF"])
def test_a_large_picture_of_any_kind_is_refused_by_its_header(kind):
    with pytest.raises(UnreadableMedia, match="16000x16000 pixels, more than 100 million"):
        decode_image(stating(kind, 16_000))
