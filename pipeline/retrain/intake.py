"""Which of the files that have arrived are taken, and where in the release they go; why the others are not.

Each kind has its module: `recordings.py` videos and label files, `pictures.py` crops, LSD and the pool, `lists.py` MTL
lists, `changes.py` what is to be replaced or removed. Folders tell the kind, by the names that discovery knows.
"""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline.abaw.names import unsafe
from pipeline.core.suffixes import is_image, is_video
from pipeline.retrain.changes import CHANGES, Changes, remove, wishes
from pipeline.retrain.held import Held
from pipeline.retrain.inbox import Arrival
from pipeline.retrain.kinds import crop_of, is_compound, is_test, label_place, list_split, lsd_of, pool_path
from pipeline.retrain.lists import take_lists
from pipeline.retrain.outcome import Intake
from pipeline.retrain.past import ROLLED_BACK, Past, named
from pipeline.retrain.pictures import good_crops, place_crops, take_lsd, take_pool
from pipeline.retrain.recordings import take_recordings

Kind = Literal["pool", "crop", "lsd", "list", "recording", "test", "compound", "nowhere"]
REFUSED: dict[Kind, str] = {
    "test": "of a test set: a new edition is a release of its own; `mien data import` it and set data.root",
    "compound": "of the compound expressions, which no track here is trained on",
    "nowhere": "no folder tells what this picture is: cropped_aligned/122, training_set_real_images/ANGER, unlabelled",
}


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
    held = remove(changes, held, past.removed, place, intake)
    kinds: dict[Kind, list[Arrival]] = {}
    for arrival in _open(arrivals, held, changes, past, intake):
        kinds.setdefault(kind_of(PurePosixPath(arrival.name)), []).append(arrival)
    for kind, reason in REFUSED.items():
        intake.bad |= dict.fromkeys(kinds.get(kind, []), reason)
    crops = good_crops(kinds.get("crop", []), held, intake)
    take_recordings(kinds.get("recording", []), set(crops), held, changes, place, intake)
    listed = take_lists(kinds.get("list", []), crops, held, place, past, intake)
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
    if is_video(path.name) and is_compound(path):
        return "compound"
    return "nowhere" if is_image(path.name) and not is_video(path.name) else "recording"


def _open(arrivals: list[Arrival], held: Held, changes: Changes, past: Past, intake: Intake) -> Iterator[Arrival]:
    """The files about which neither their names nor earlier runs have decided."""
    here = named(held.files.items())
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
