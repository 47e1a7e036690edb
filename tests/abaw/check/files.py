"""Conformant submissions of every track, made on the spot."""

from pipeline.abaw.readers import parse_template
from pipeline.abaw.tracks import TRACKS
from tests.abaw_fixture import lines

IMAGES = [
    "14-30-640x360/00001.jpg",
    "14-30-640x360/00002.jpg",
    "14/00001.jpg",
    "14/00002.jpg",
    "14/00003.jpg",
    "video2_left/00001.jpg",
]
MTL_IMAGES = ["14/00002.jpg", "14/00008.jpg", "14/00008.jpg", "video2_left/00007.jpg"]
VALUES = {
    "expr": ["0", "1", "2", "3", "4", "7"],
    "ce": ["0", "1", "2", "3", "4", "6"],
    "lsd": ["0", "1", "2", "3", "4", "5"],
    "va": ["0.1200,-0.0500", "-1.0000,1.0000", "0.5,0", "0.0001,-0.25", "1,-1", "0.3333,0.4444"],
    "au": [",".join(f"{(bits >> i) & 1}" for i in range(12)) for bits in (1, 77, 500, 4095, 0, 1234)],
    # rows 2 and 3 are one image: equal, as in the official lists, or swapping them would be no defect
    "mtl": [f"0.1,-0.{i + 1},{i},0,0,0,1,1,1,1,0,0,0,{i % 2},0" for i in (0, 1, 1, 2)],
}


def make(track):
    """A template and a conformant submission as rows of bytes."""
    images = {"mtl": MTL_IMAGES, "lsd": [f"{i}.jpg" for i in range(6)]}.get(track, IMAGES)
    header = TRACKS[track].header
    template = parse_template(lines(header, *[f"{image}," for image in images]).encode(), "template")
    rows = [f"{image},{value}" for image, value in zip(images, VALUES[track], strict=False)]
    return template, lines(header, *rows).encode()


def split(data):
    return data.decode().split("\n")[:-1]


def joined(rows):
    return ("\n".join(rows) + "\n").encode()
