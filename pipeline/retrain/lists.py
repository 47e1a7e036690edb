"""MTL lists as lines: rows merged into a release's list, and rows of a recording taken out; all else stays as it is."""

from pipeline.abaw.names import base_video
from pipeline.abaw.text import normalise


def _lines(data: bytes) -> tuple[str, list[str]]:
    """Header and rows of a list, without their line ends."""
    header, _, body = normalise(data).decode("utf-8").partition("\n")
    return header, [line for line in body.split("\n") if line]


def _bytes(header: str, rows: list[str]) -> bytes:
    return ("\n".join([header, *rows]) + "\n").encode()


def image_of(row: str) -> str:
    """The image that a row of a list names."""
    return row.partition(",")[0].strip()


def recording_of(row: str) -> str:
    """The recording that a row is of."""
    return base_video(image_of(row).rpartition("/")[0])


def images_of(data: bytes) -> list[str]:
    """The images of all rows."""
    return [image_of(row) for row in _lines(data)[1]]


def names_recording(data: bytes, video: str) -> bool:
    """Whether a list has rows of a recording."""
    return without_recording(data, video)[1] > 0


def without_recording(data: bytes, video: str) -> tuple[bytes, int]:
    """A list without the rows of a recording (of one side, where `video` names one), and how many these were."""
    header, rows = _lines(data)
    whole = base_video(video) == video
    kept = [row for row in rows if (recording_of(row) if whole else image_of(row).rpartition("/")[0]) != video]
    return (_bytes(header, kept), len(rows) - len(kept)) if len(kept) < len(rows) else (data, 0)


def merged(old: bytes, new: bytes) -> tuple[bytes, int, int]:
    """A list with the rows of another: those of images that it has replaced where they stand, the others behind.

    Returns the list, how many rows were replaced by other ones, and how many were added.
    """
    header, rows = _lines(old)
    arriving = {image_of(row): row for row in _lines(new)[1]}
    known = {image_of(row) for row in rows}
    after = [arriving.get(image_of(row), row) for row in rows]
    added = [row for image, row in arriving.items() if image not in known]
    replaced = sum(before != now for before, now in zip(rows, after, strict=True))
    return (_bytes(header, after + added), replaced, len(added)) if replaced or added else (old, 0, 0)
