"""Pictures that arrive: organisers' crops of a video, faces of LSD by their class, and the unlabelled pool."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from pipeline.abaw.names import base_video, frame_number, is_video_name
from pipeline.core.pictures import UnreadableMedia
from pipeline.core.suffixes import is_video
from pipeline.release.importer import MAX_PACKED_BYTES
from pipeline.release.pack import SHARDS
from pipeline.retrain.changes import CHANGES, Changes
from pipeline.retrain.held import Held
from pipeline.retrain.inbox import Arrival
from pipeline.retrain.kinds import crop_of, lsd_of, pool_path
from pipeline.retrain.outcome import Intake
from pipeline.validate.images import decode_size
from pipeline.validate.videos import why_undecodable

OF_MTL = re.compile(r"mtl|s-aff", re.IGNORECASE)


def good_crops(arrivals: list[Arrival], held: Held, intake: Intake) -> dict[str, list[Arrival]]:
    """Crops that decode, by video; those that the release has are known."""
    good: dict[str, list[Arrival]] = {}
    for arrival in arrivals:
        crop = crop_of(PurePosixPath(arrival.name))
        assert crop
        if (
            held.files.get(held.crop_target(crop, False)) == arrival.md5
            or held.files.get(held.crop_target(crop, True)) == arrival.md5
        ):
            intake.known += 1
        elif not is_video_name(crop.video):
            intake.bad[arrival] = f"{crop.video!r} is no official video name; name the folder after its video"
        elif frame_number(crop.name) is None:
            intake.bad[arrival] = "a crop is called after its frame, 00001.jpg, 00002.jpg"
        elif reason := _undecoded(arrival):
            intake.bad[arrival] = reason
        else:
            good.setdefault(crop.video, []).append(arrival)
    return good


def place_crops(good: dict[str, list[Arrival]], held: Held, listed: set[str], changes: Changes, intake: Intake) -> None:
    """Give the crops of each video their place; those of a video without labels wait. `listed` are MTL's videos."""
    labelled = {video for _, _, video in held.labels} | {PurePosixPath(path).stem for path in intake.taken.values()}
    for video, arrivals in good.items():
        for arrival in arrivals:
            crop = crop_of(PurePosixPath(arrival.name))
            assert crop
            for_mtl = video in listed and (video not in labelled or OF_MTL.search(crop.root) is not None)
            if for_mtl or video in labelled:
                _take(arrival, held.crop_target(crop, for_mtl), held, changes, intake)
            else:
                intake.waiting[arrival] = f"no label file or list of {video} that can be taken is here"
        if base_video(video) in held.videos:
            intake.told.append(f"crops of {video} arrive; where detect_align.source prefers them, its faces are theirs")


def take_lsd(arrivals: list[Arrival], held: Held, changes: Changes, intake: Intake) -> None:
    """Pictures of LSD, each in one class of one split."""
    tests = {held.files[path]: path for path in held.tests}
    seen = dict(held.lsd_pictures)
    for arrival in arrivals:
        picture = lsd_of(PurePosixPath(arrival.name))
        assert picture
        target = held.lsd_target(picture)
        twin = tests.get(arrival.md5) or seen.get(arrival.md5)
        if twin and PurePosixPath(twin).parent == PurePosixPath(target).parent:
            intake.known += 1
        elif twin:
            intake.bad[arrival] = f"the same picture as {twin}; it can have one class, in one split"
        elif reason := _undecoded(arrival):
            intake.bad[arrival] = reason
        else:
            seen[arrival.md5] = target
            _take(arrival, target, held, changes, intake)


def take_pool(arrivals: list[Arrival], held: Held, changes: Changes, intake: Intake) -> None:
    """Pictures and videos without labels, with the folders that they lie in."""
    for arrival in arrivals:
        target = f"{held.pool}/{pool_path(PurePosixPath(arrival.name))}"
        if held.files.get(target) == arrival.md5:
            intake.known += 1
        elif reason := _undecoded(arrival):
            intake.bad[arrival] = reason
        else:
            _take(arrival, target, held, changes, intake)


def _take(arrival: Arrival, target: str, held: Held, changes: Changes, intake: Intake) -> None:
    """Take a picture for its place, unless something else stands there."""
    folder = PurePosixPath(target).parent.as_posix()
    if held.is_pack and any(path.startswith(f"{SHARDS}/{folder}/") for path in _shards(held)):
        intake.bad[arrival] = f"the release is a pack, and {folder} is packed; bring them in a folder of another name"
    elif target in intake.taken.values():
        intake.bad[arrival] = f"a second file for {target}; keep one of them"
    elif target in held.files and not changes.replaces(arrival.name):
        intake.bad[arrival] = f"another picture stands at {target}; name it under `replace` in {CHANGES}"
    else:
        intake.taken[arrival] = target
        if target in held.files:
            intake.told.append(f"{target} replaced")


def _shards(held: Held) -> Iterator[str]:
    return (path for path in held.files if path.startswith(f"{SHARDS}/"))


def _undecoded(arrival: Arrival) -> str | None:
    """Why a picture or a video of the pool cannot be used."""
    if is_video(arrival.name):
        why = why_undecodable(arrival.path)
        return f"no frame decodes: damaged, or a copy that broke off ({why})" if why else None
    if arrival.path.stat().st_size > MAX_PACKED_BYTES:
        return f"more than {MAX_PACKED_BYTES} bytes are no picture"
    try:
        decode_size(arrival.path.read_bytes(), arrival.name)
    except UnreadableMedia as error:
        return f"does not decode: {error}"
    return None
