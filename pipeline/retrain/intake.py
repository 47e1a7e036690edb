"""Which of the files that have arrived are taken, and where in the release they go; why the others are not.

Each kind has its module: `recordings.py` videos and label files, `pictures.py` crops, LSD and the pool, `lists.py` MTL
lists, `changes.py` what is to be replaced or removed. Folders tell the kind, by the names that discovery knows.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline.abaw.names import base_video, unsafe
from pipeline.abaw.readers import scan_mtl
from pipeline.abaw.text import MAX_TEXT_BYTES
from pipeline.core.files import is_image, is_video
from pipeline.retrain.changes import CHANGES, Changes, remove, wishes
from pipeline.retrain.held import Held
from pipeline.retrain.history import Record
from pipeline.retrain.inbox import Arrival
from pipeline.retrain.kinds import crop_of, is_test, label_place, list_split, lsd_of, pool_path
from pipeline.retrain.lists import images_of, merged, recording_of
from pipeline.retrain.outcome import Intake
from pipeline.retrain.pictures import good_crops, place_crops, take_lsd, take_pool
from pipeline.retrain.recordings import take_recordings

Kind = Literal["pool", "crop", "lsd", "list", "recording", "test", "nowhere"]
ROLLED_BACK = "was taken in and rolled back; `mien retrain` without --if-new-data takes it again"
REFUSED: dict[Kind, str] = {
    "test": "of a test set: a new edition is a release of its own; `mien data import` it and set data.root",
    "nowhere": "no folder tells what this picture is: cropped_aligned/122, training_set_real_images/ANGER, unlabelled",
}


Known = frozenset[tuple[str, str]]  # names and md5s: label files of two recordings may have the same bytes


@dataclass(frozen=True)
class Past:
    """What earlier runs did: files that came in, files that left with the places that they left, archives' md5s."""

    arrived: Known = frozenset()
    gone: Known = frozenset()
    places: dict[str, str] = field(default_factory=dict)
    unpacked: frozenset[str] = frozenset()

    @classmethod
    def of(cls, records: list[Record]) -> "Past":
        """What the records of retraining tell."""
        return cls(
            arrived=_named(entry for record in records for entry in record.arrived.items()),
            gone=_named(entry for record in records for entry in record.removed.items()),
            places={place: md5 for record in records for place, md5 in record.removed.items()},
            unpacked=frozenset(md5 for record in records for md5 in record.unpacked.values()),
        )


def _named(files: Iterable[tuple[str, str]]) -> Known:
    return frozenset((PurePosixPath(place).name, md5) for place, md5 in files)


def decide(
    arrivals: list[Arrival],
    held: Held,
    place: Callable[[str], Path],
    past: Past | None = None,
    intake: Intake | None = None,
) -> Intake:
    """Sort the files that have arrived, into `intake`. `place` gives the file of an md5 in DVC's cache.

    What left the release in an earlier run is not taken again, unless `changes.yaml` names it.
    """
    intake, past = intake or Intake(), past or Past()
    changes = wishes(arrivals, held, past.places, place, intake)
    held = remove(changes, held, past.places, place, intake)
    kinds: dict[Kind, list[Arrival]] = {}
    for arrival in _open(arrivals, held, changes, past, intake):
        kinds.setdefault(kind_of(PurePosixPath(arrival.name)), []).append(arrival)
    for kind, reason in REFUSED.items():
        intake.bad |= dict.fromkeys(kinds.get(kind, []), reason)
    crops = good_crops(kinds.get("crop", []), held, intake)
    take_recordings(kinds.get("recording", []), set(crops), held, changes, place, intake)
    listed = _take_lists(kinds.get("list", []), crops, held, place, past, intake)
    place_crops(crops, held, listed, changes, intake)
    take_lsd(kinds.get("lsd", []), held, changes, intake)
    take_pool(kinds.get("pool", []), held, changes, intake)
    return intake


def kind_of(path: PurePosixPath) -> Kind:
    """What a file of the inbox is, by its name and folders."""
    if pool_path(path):
        return "pool"
    if crop_of(path):
        return "crop"
    if lsd_of(path):
        return "lsd"
    if list_split(path) and not label_place(path):
        return "list"
    if is_test(path):
        return "test"
    return "nowhere" if is_image(path.name) and not is_video(path.name) else "recording"


def _open(arrivals: list[Arrival], held: Held, changes: Changes, past: Past, intake: Intake) -> Iterator[Arrival]:
    """The files about which neither their names nor earlier runs have decided."""
    here = _named(held.files.items())
    for arrival in arrivals:
        file = PurePosixPath(arrival.name).name, arrival.md5
        if arrival.name == CHANGES:
            continue
        if why := unsafe(arrival.name):
            intake.bad[arrival] = f"its name {why}; give it another"
        elif name := changes.removes(arrival.name):
            intake.waiting[arrival] = f"{CHANGES} removes {name}"
        elif file in here or (file in past.gone and changes.replaces(arrival.name)):
            yield arrival
        elif file in past.gone:
            intake.waiting[arrival] = f"left the release in an earlier run; `replace` in {CHANGES} takes it back"
        elif file in past.arrived and not list_split(PurePosixPath(arrival.name)):
            intake.waiting[arrival] = ROLLED_BACK
        else:
            yield arrival


def _take_lists(
    arrivals: list[Arrival],
    crops: dict[str, list[Arrival]],
    held: Held,
    place: Callable[[str], Path],
    past: Past,
    intake: Intake,
) -> set[str]:
    """Merge MTL lists into those of the release; returns all videos that its lists name afterwards."""
    here = {"/".join(PurePosixPath(path).parts[-2:]) for path in held.files if crop_of(PurePosixPath(path))}
    here |= {"/".join(PurePosixPath(a.name).parts[-2:]) for found in crops.values() for a in found}
    now = {path: intake.rewritten.get(path) or place(held.files[path]).read_bytes() for path in held.lists.values()}
    for arrival in arrivals:
        split = list_split(PurePosixPath(arrival.name))
        assert split
        target = held.list_target(split)
        others = {recording_of(image) for path, data in now.items() if path != target for image in images_of(data)}
        if reason := _list_fault(arrival, others):
            intake.bad[arrival] = reason
            continue
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
    return {image.rpartition("/")[0] for data in now.values() for image in images_of(data)}


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
