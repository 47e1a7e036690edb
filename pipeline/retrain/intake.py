"""Which of the files that have arrived are taken, and where in the release they go; why the others are not.

Taken are raw videos and the per-video label files of EXPR, AU and VA: a video with one label file at least, and label
files of recordings that are there. A label file's track and split stand in its folders (`EXPR_Set/Validation_Set`);
lying anywhere else, its track is told by its header, and it is for training.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.abaw.names import base_video, is_video_name
from pipeline.abaw.readers import scan_annotation
from pipeline.abaw.text import first_line, normalise
from pipeline.abaw.tracks import TRACKS, VIDEO_HEADERS
from pipeline.core.files import is_video
from pipeline.faces.extract import SHORT_BY_FRAMES
from pipeline.faces.media import UnreadableMedia, read_frames
from pipeline.release.validate.media import container_frames
from pipeline.retrain.held import VIDEOS, Held, Split, label_place
from pipeline.retrain.inbox import Arrival


@dataclass
class Intake:
    """`taken`: where each new file goes in the release; `bad`: why a file cannot be taken; `waiting`: what a file waits
    for; `known`: how many files are part of the release already.
    """

    taken: dict[Arrival, str] = field(default_factory=dict)
    bad: dict[Arrival, str] = field(default_factory=dict)
    waiting: dict[Arrival, str] = field(default_factory=dict)
    known: int = 0


@dataclass(frozen=True)
class _Label:
    """A label file that reads well."""

    arrival: Arrival
    track: str
    split: Split
    video: str
    rows: int


def decide(arrivals: list[Arrival], held: Held, place: Callable[[str], Path]) -> Intake:
    """Sort the files that have arrived. `place` gives the file of an md5 in DVC's cache, to count a recording's frames.

    Every new video is decoded once, whole: a copy that broke off may open well.
    """
    intake = Intake()
    videos = _good_videos([arrival for arrival in arrivals if is_video(arrival.name)], held, intake)
    frames = {base: count for base, (_, count) in videos.items()}
    for label in _good_labels([arrival for arrival in arrivals if not is_video(arrival.name)], held, intake):
        base = base_video(label.video)
        if base not in videos and not held.has(label.video):
            intake.waiting[label.arrival] = f"no video {base} is here or in the release"
            continue
        if base not in frames and base in held.videos:
            frames[base] = _decoded(place(held.files[held.videos[base]]))
        if reason := _misfit(label, held, frames.get(base)):
            intake.bad[label.arrival] = reason
        else:
            intake.taken[label.arrival] = held.label_target(label.track, label.split, label.video)
    labelled = {base_video(PurePosixPath(path).stem) for path in intake.taken.values()}
    for base, (video, _) in videos.items():
        if base in labelled:
            intake.taken[video] = f"{VIDEOS}/{PurePosixPath(video.name).name}"
        else:
            intake.waiting[video] = "no label file of it that can be taken is here"
    return intake


def _good_videos(arrivals: list[Arrival], held: Held, intake: Intake) -> dict[str, tuple[Arrival, int]]:
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
        elif reason := _video_fault(name, arrival.path, count) or _taken_name(name, held, good):
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
    told = container_frames(path)
    if told is None or not count:
        return "no frame decodes: damaged, or a copy that broke off; copy it again"
    if count < told - SHORT_BY_FRAMES:
        return f"{count} of {told} frames decode: a copy that broke off; copy it again"
    return None


def _taken_name(name: str, held: Held, good: dict[str, tuple[Arrival, int]]) -> str | None:
    if name in held.videos or name in good:
        other = held.videos.get(name) or good[name][0].name
        return f"another recording has this name, {other}; give it another"
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
    return _Label(arrival, track, split, path.stem, len(values))


def _misfit(label: _Label, held: Held, frames: int | None) -> str | None:
    """Why a label file does not fit its recording or the release."""
    other = held.split_of(label.track, label.video)
    if other and other != label.split:
        return f"{label.track.upper()} has this recording in its {other} split: in both, the score would be a leak's"
    if frames is not None and abs(label.rows - frames) > SHORT_BY_FRAMES:
        return f"{label.rows} rows, but the video has {frames} frames; row i is frame i"
    return None
