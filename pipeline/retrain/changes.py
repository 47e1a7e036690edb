"""`changes.yaml` in the inbox: what is to be replaced or removed, which no file that merely arrives may do.

replace: [122.mp4]   # files of the inbox, or folders, that take the place of what has their name
remove: [135]        # recordings that leave the release, with label files, crops and rows of MTL lists
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath

import yaml
from pydantic import ValidationError, field_validator

from pipeline.abaw.names import base_video, is_video_name
from pipeline.abaw.readers import parse_template
from pipeline.core.errors import MienError
from pipeline.core.params import Section
from pipeline.core.safe_yaml import parse_yaml
from pipeline.core.suffixes import is_image
from pipeline.retrain.held import Held
from pipeline.retrain.inbox import Arrival
from pipeline.retrain.kinds import crop_of
from pipeline.retrain.lists import names_recording, without_recording
from pipeline.retrain.outcome import Intake

CHANGES = "changes.yaml"


class Changes(Section):
    """What `changes.yaml` says."""

    replace: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    @field_validator("replace", "remove", mode="before")
    @classmethod
    def _names(cls, names: object) -> object:
        """A recording may be called 135, which YAML reads as a number."""
        if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
            raise ValueError("must be a list of names")
        return tuple(str(name) for name in names)

    def replaces(self, arrival: str) -> bool:
        """Whether a file of the inbox is named, itself or by a folder above it."""
        return any(_is_named(arrival, name) for name in self.replace)

    def removes(self, arrival: str) -> str | None:
        """The recording whose removal is asked for and of which a file of the inbox is."""
        path = PurePosixPath(arrival)
        crop = crop_of(path)
        video = crop.video if crop else path.stem
        return next((name for name in self.remove if name in (video, base_video(video))), None)


def _is_named(arrival: str, name: str) -> bool:
    return arrival == name or arrival.startswith(f"{name.rstrip('/')}/")


def read_changes(path: Path) -> Changes:
    """The wishes that the file holds; `MienError` says what is wrong with it."""
    try:
        return Changes.model_validate(parse_yaml(path.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise MienError(f"cannot be read: {' '.join(str(error).split())[:200]}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise MienError(f"{where}: {first['msg'].removeprefix('Value error, ')}; it knows replace and remove") from None


def wishes(
    arrivals: list[Arrival], held: Held, gone: Collection[str], place: Callable[[str], Path], intake: Intake
) -> Changes:
    """What `changes.yaml` asks for; all of it is refused where a name in it is unknown or may not leave.

    `gone` are places that earlier runs have emptied: their names are not unknown.
    """
    request = next((arrival for arrival in arrivals if arrival.name == CHANGES), None)
    if request is None:
        return Changes()
    try:
        changes = read_changes(request.path)
        for name in changes.remove:
            _check_removal(name, held, gone, place)
    except MienError as error:
        intake.bad[request] = str(error)
        return Changes()
    absent = [name for name in changes.replace if not any(_is_named(arrival.name, name) for arrival in arrivals)]
    if absent:
        intake.waiting[request] = f"replace: {', '.join(absent)} is not in the inbox, or not whole yet"
    return changes


def _check_removal(name: str, held: Held, gone: Collection[str], place: Callable[[str], Path]) -> None:
    """Refuse a name that is unknown, or of a recording that cannot leave."""
    known = is_video_name(name) and (any(held.of_recording(name)) or _listed(name, held, place))
    if not known and not (is_video_name(name) and any(Held.of(dict.fromkeys(gone, "")).of_recording(name))):
        raise MienError(f"remove: the release holds no recording {name!r}; nothing of this file was done")
    if held.is_pack:
        raise MienError(f"remove: {name} lies in an imported pack; `mien data import` a release without it")
    for path in held.tests if known else []:
        if not is_image(path) and _tests(path, name, held, place):
            raise MienError(f"remove: {name} is in the test list {path}, whose rows must all be submitted")


def _listed(name: str, held: Held, place: Callable[[str], Path]) -> bool:
    return any(names_recording(place(held.files[path]).read_bytes(), name) for path in held.lists.values())


def _tests(path: str, name: str, held: Held, place: Callable[[str], Path]) -> bool:
    """Whether a file of a test set is a template that names the recording."""
    try:
        template = parse_template(place(held.files[path]).read_bytes(), path)
    except MienError:
        return False  # a list of videos
    return base_video(name) in {base_video(video) for video in template.videos().unique().to_pylist()}


def remove(changes: Changes, held: Held, gone: Mapping[str, str], place: Callable[[str], Path], intake: Intake) -> Held:
    """Take the recordings that are to be removed out; returns what the release holds without them.

    `gone` is the md5 of each file that earlier runs removed, by its place: what a rollback has brought back stays.
    """
    for name in changes.remove:
        leaving = sorted(held.of_recording(name))
        if leaving and all(gone.get(path) == held.files[path] for path in leaving):
            intake.told.append(f"{name} was removed and rolled back; `mien retrain` without --if-new-data removes it")
            continue
        if leaving:
            intake.told.append(f"recording {name} removed: {_counted(leaving)}")
        intake.removed += [path for path in leaving if path not in intake.removed]
        _shorten_lists(name, held, place, intake)
    return Held.of({path: md5 for path, md5 in held.files.items() if path not in set(intake.removed)})


def _shorten_lists(name: str, held: Held, place: Callable[[str], Path], intake: Intake) -> None:
    for path in held.lists.values():
        data = intake.rewritten.get(path) or place(held.files[path]).read_bytes()
        kept, rows = without_recording(data, name)
        if rows:
            intake.rewritten[path] = kept
            intake.told.append(f"{rows} rows of {name} removed from {path}")


def _counted(places: list[str]) -> str:
    shown = ", ".join(places[:4])
    return shown if len(places) <= 4 else f"{shown} and {len(places) - 4} more files"
