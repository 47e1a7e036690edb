"""New recordings and their label files, replaced ones among them: which are taken, and why the others are not.

Taken are a video with one label file at least, and label files of recordings that are there, as a video or as crops. A
label file's track and split stand in its folders (`EXPR_Set/Validation_Set`); lying anywhere else, its track is told by
its header, and it is for training. One of a recording that has one already takes its place. A video with the name of
another replaces it where `changes.yaml` says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from pipeline.abaw.names import base_video, is_video_name
from pipeline.abaw.readers import scan_annotation
from pipeline.abaw.text import MAX_TEXT_BYTES, first_line, normalise
from pipeline.abaw.tracks import TRACKS, VIDEO_HEADERS
from pipeline.core.pictures import UnreadableMedia
from pipeline.core.suffixes import is_video
from pipeline.faces.extract import SHORT_BY_FRAMES
from pipeline.faces.media import read_frames, stated_frames
from pipeline.retrain.changes import CHANGES, Changes
from pipeline.retrain.held import VIDEOS, Held
from pipeline.retrain.inbox import Arrival
from pipeline.retrain.kinds import Split, label_place
from pipeline.retrain.outcome import Intake

Place = Callable[[str], Path]


@dataclass(frozen=True)
class _Label:
    """A label file that reads well."""

    arrival: Arrival
    track: str
    split: Split
    video: str
    values: np.ndarray


def take_recordings(
    arrivals: list[Arrival], cropped: set[str], held: Held, changes: Changes, place: Place, intake: Intake
) -> None:
    """Sort videos and label files. `place` gives the file of an md5 in DVC's cache; `cropped` have crops that arrive.

    Every new video is decoded once, whole: a copy that broke off may open well.
    """
    videos = _good_videos([arrival for arrival in arrivals if is_video(arrival.name)], held, changes, intake)
    frames = {base: count for base, (_, count) in videos.items()}
    for label in _good_labels([arrival for arrival in arrivals if not is_video(arrival.name)], held, intake):
        base = base_video(label.video)
        if base not in videos and not held.has(label.video) and label.video not in cropped:
            intake.waiting[label.arrival] = f"no video {base} is here or in the release"
            continue
        if base not in frames and base in held.videos:
            frames[base] = _decoded(place(held.files[held.videos[base]]))
        if reason := _misfit(label, held, frames.get(base)):
            intake.bad[label.arrival] = reason
        else:
            _take_label(label, held, place, intake)
    for base, (video, count) in videos.items():
        _take_video(base, video, count, held, place, intake)


def _take_label(label: _Label, held: Held, place: Place, intake: Intake) -> None:
    """Take a label file, and tell what it changes where the recording has one."""
    target = held.label_target(label.track, label.split, label.video)
    intake.taken[label.arrival] = target
    if target in held.files:
        before = _values(target, label.track, held, place)
        rows = max(len(before), len(label.values))
        common = min(len(before), len(label.values))
        same = (before[:common] == label.values[:common]).all(axis=1).sum()
        what = f"{label.video} ({label.track.upper()}, {label.split})"
        intake.told.append(f"labels of {what} replaced: {rows - same} of {rows} rows differ")


def _values(target: str, track: str, held: Held, place: Place) -> np.ndarray:
    return scan_annotation(place(held.files[target]).read_bytes(), TRACKS[track])[0]


def _take_video(base: str, video: Arrival, count: int, held: Held, place: Place, intake: Intake) -> None:
    """Take a video that has labels; one that replaces another must fit those that stay."""
    former = held.videos.get(base)
    arriving = set(intake.taken.values())
    if former is None:
        if base in {base_video(PurePosixPath(path).stem) for path in arriving}:
            intake.taken[video] = f"{VIDEOS}/{PurePosixPath(video.name).name}"
        else:
            intake.waiting[video] = "no label file of it that can be taken is here"
        return
    stay = [(track, path) for track, path in held.labels_of(base) if path not in arriving]
    rows = {path: len(_values(path, track, held, place)) for track, path in stay}
    if odd := next((path for path, number in rows.items() if abs(number - count) > SHORT_BY_FRAMES), None):
        intake.bad[video] = f"it has {count} frames, but {odd} has {rows[odd]} rows; bring label files that fit it"
        for label in [arrival for arrival, path in intake.taken.items() if _is_of(path, base)]:
            del intake.taken[label]
            intake.waiting[label] = f"{video.name}, that it came with, cannot be taken"
        return
    intake.taken[video] = target = PurePosixPath(former).with_name(PurePosixPath(video.name).name).as_posix()
    intake.told.append(f"recording {base} replaced: {target}, {count} frames")
    if target != former:
        intake.removed.append(former)
    if base in held.cropped:
        intake.told.append(f"crops of {base} stay; where detect_align.source prefers them, its faces are theirs")


def _is_of(path: str, base: str) -> bool:
    return label_place(PurePosixPath(path)) is not None and base_video(PurePosixPath(path).stem) == base


def _good_videos(
    arrivals: list[Arrival], held: Held, changes: Changes, intake: Intake
) -> dict[str, tuple[Arrival, int]]:
    """New recordings that decode whole, by name, with their frames."""
    good: dict[str, tuple[Arrival, int]] = {}
    for arrival in arrivals:
        name = PurePosixPath(arrival.name).stem
        same = held.recording(arrival.md5)
        if same and PurePosixPath(same).stem == name:
            intake.known += 1
            continue
        twin = same or next((other.name for other, _ in good.values() if other.md5 == arrival.md5), None)
        count = 0 if twin else _decoded(arrival.path)
        if twin:
            intake.bad[arrival] = f"the same recording as {twin}, under another name"
        elif reason := _video_fault(name, arrival.path, count) or _taken_name(arrival, held, good, changes):
            intake.bad[arrival] = reason
        else:
            good[name] = arrival, count
    return good


def _decoded(path: Path) -> int:
    """How many frames of a video decode."""
    try:
        return sum(frame.image is not None for frame in read_frames(path))
    except UnreadableMedia:
        return 0


def _video_fault(name: str, path: Path, count: int) -> str | None:
    if not is_video_name(name) or base_video(name) != name:
        return f"{name!r} is no official name of a recording; call it like 122, 122-60-1920x1080-3 or video10_1"
    if not count:
        return "no frame decodes: damaged, or a copy that broke off; copy it again"
    if count < (stated := stated_frames(path)) - SHORT_BY_FRAMES:
        return f"{count} of {stated} frames decode: a copy that broke off; copy it again"
    return None


def _taken_name(arrival: Arrival, held: Held, good: dict[str, tuple[Arrival, int]], changes: Changes) -> str | None:
    name = PurePosixPath(arrival.name).stem
    if name in good:
        return f"another recording has this name, {good[name][0].name}; give it another"
    if name in held.videos and not changes.replaces(arrival.name):
        wish = f"or name {arrival.name} under `replace` in {CHANGES}"
        return f"another recording has this name, {held.videos[name]}; give it another, {wish}"
    return None


def _good_labels(arrivals: list[Arrival], held: Held, intake: Intake) -> list[_Label]:
    """New label files that read well."""
    good: list[_Label] = []
    for arrival in arrivals:
        label = _read_label(arrival)
        if isinstance(label, str):
            intake.bad[arrival] = label
        elif held.files.get(held.labels.get((label.track, label.split, label.video), "")) == arrival.md5:
            intake.known += 1
        elif any((label.track, label.video) == (other.track, other.video) for other in good):
            intake.bad[arrival] = f"a second {label.track.upper()} label file of {label.video}; keep one of them"
        else:
            good.append(label)
    return good


def _read_label(arrival: Arrival) -> _Label | str:
    """The label file, or what is wrong with it."""
    path = PurePosixPath(arrival.name)
    if path.suffix != ".txt":
        return "neither a video nor a label file"
    if arrival.path.stat().st_size > MAX_TEXT_BYTES:
        return f"more than {MAX_TEXT_BYTES} bytes are no label file"
    data = arrival.path.read_bytes()
    known = VIDEO_HEADERS.get(first_line(normalise(data)).strip())
    track, split = label_place(path) or (known.name if known else None, "train")
    if track is None:
        return f"line 1 is no header of EXPR, AU or VA; it must read, say, {TRACKS['va'].video_header}"
    values, problems = scan_annotation(data, TRACKS[track])
    if problems:
        return f"line {problems[0].line}: {problems[0].message}; {problems[0].mend}"
    if not is_video_name(path.stem):
        return f"{path.stem!r} is no official video name; name the file after its video"
    if not len(values):
        return "it has no rows"
    return _Label(arrival, track, split, path.stem, values)


def _misfit(label: _Label, held: Held, frames: int | None) -> str | None:
    """Why a label file does not fit its recording or the release."""
    other = held.split_of(label.track, label.video)
    has_one = (label.track, label.split, label.video) in held.labels
    if other and other != label.split and not has_one:
        return f"{label.track.upper()} has this recording in its {other} split: in both, the score would be a leak's"
    rows = len(label.values)
    if frames is not None and abs(rows - frames) > SHORT_BY_FRAMES:
        return f"{rows} rows, but the video has {frames} frames; row i is frame i"
    return None
