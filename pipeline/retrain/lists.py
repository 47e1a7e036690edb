"""MTL lists as lines: rows merged into a release's list, and rows of a recording taken out; all else stays as it is."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from pipeline.abaw.names import base_video
from pipeline.abaw.readers import scan_mtl
from pipeline.abaw.text import MAX_TEXT_BYTES, normalise
from pipeline.retrain.held import Held
from pipeline.retrain.inbox import Arrival
from pipeline.retrain.kinds import crop_of, list_split
from pipeline.retrain.outcome import Intake
from pipeline.retrain.past import ROLLED_BACK, Past


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


def take_lists(
    arrivals: list[Arrival],
    crops: dict[str, list[Arrival]],
    held: Held,
    place: Callable[[str], Path],
    past: Past,
    intake: Intake,
) -> set[str]:
    """Merge lists that arrive into those of the release; returns all videos that its lists name afterwards.

    `crops` are those that arrive too, by video: a list waits until the release has all its pictures.
    """
    here = {_image(path) for path in held.files if crop_of(PurePosixPath(path))}
    here |= {_image(arrival.name) for found in crops.values() for arrival in found}
    now = {path: intake.rewritten.get(path) or place(held.files[path]).read_bytes() for path in held.lists.values()}
    for arrival in arrivals:
        _take_list(arrival, now, here, held, past, intake)
    return {image.rpartition("/")[0] for data in now.values() for image in images_of(data)}


def _image(path: str) -> str:
    return "/".join(PurePosixPath(path).parts[-2:])


def _take_list(arrival: Arrival, now: dict[str, bytes], here: set[str], held: Held, past: Past, intake: Intake) -> None:
    """Merge one list into `now`, the release's lists by their places."""
    split = list_split(PurePosixPath(arrival.name))
    assert split
    target = held.list_target(split)
    others = {recording_of(image) for path, data in now.items() if path != target for image in images_of(data)}
    if reason := _list_fault(arrival, others):
        intake.bad[arrival] = reason
        return
    new = arrival.path.read_bytes()
    lacking = [image for image in images_of(new) if image not in here and not _is_packed(image, held)]
    after, replaced, added = merged(now[target], new) if target in now else (new, 0, len(images_of(new)))
    if not replaced and not added:
        intake.known += 1
    elif (PurePosixPath(target).name, arrival.md5) in past.arrived:
        intake.waiting[arrival] = ROLLED_BACK
    elif lacking:
        intake.waiting[arrival] = f"{len(lacking)} of its pictures are not here, {lacking[0]} the first"
    else:
        now[target] = intake.rewritten[target] = after
        intake.taken[arrival] = target
        intake.told.append(f"MTL list ({split}): {replaced} rows replaced, {added} added")


def _is_packed(image: str, held: Held) -> bool:
    return held.is_pack and image.rpartition("/")[0] in held.cropped


def _list_fault(arrival: Arrival, others: set[str]) -> str | None:
    """Why a list cannot be merged; `others` are the recordings of the other split."""
    if arrival.path.stat().st_size > MAX_TEXT_BYTES:
        return f"more than {MAX_TEXT_BYTES} bytes are no list"
    table, problems = scan_mtl(arrival.path.read_bytes())
    if problems:
        return f"line {problems[0].line}: {problems[0].message}; {problems[0].mend}"
    both = sorted({base_video(image.rpartition("/")[0]) for image in table["image"].to_pylist()} & others)
    return f"recording {both[0]} is in the other split's list: in both, the score would be a leak's" if both else None
