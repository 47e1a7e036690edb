"""The tracks of ABAW: their tasks, class orders, official headers and what a prediction row holds.

A track is a challenge; its tasks are what a network predicts for it: `expression`, `aus`, `va`. Tables, batches and
scores name tasks, official files name tracks.
"""

from dataclasses import dataclass
from typing import Literal

from pipeline.core.errors import MienError

TrackName = Literal["expr", "au", "va", "mtl", "lsd", "ce"]
Task = Literal["expression", "aus", "va"]
Dataset = Literal["aff-wild2", "s-aff-wild2", "lsd", "extra"]  # extra: the pool of unlabelled faces
Field = Literal["class", "binary", "score"]

# The index of a class is its position in the official header; AffectNet's order and the alphabet differ.
EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
LSD_EXPRESSIONS = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
AUS = ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26")
COMPOUNDS = (
    "Fearfully_Surprised",
    "Happily_Surprised",
    "Sadly_Surprised",
    "Disgustedly_Surprised",
    "Angrily_Surprised",
    "Sadly_Fearful",
    "Sadly_Angry",
)
DIMENSIONS = ("valence", "arousal")

INVALID_CLASS = -1  # EXPR, and each AU
INVALID_VA = -5.0


@dataclass(frozen=True)
class Track:
    """One challenge track.

    `header` is line 1 of a submission of editions 5 and later (MTL, LSD and CE: of every edition);
    `video_header` line 1 of the per-video text files (annotations of all editions, submissions of edition 3).
    `fields` says what each comma-separated value after the image name is. `dataset` holds the track's faces; a track
    without one (CE has no training set) can be checked and not be trained.
    """

    name: TrackName
    header: str
    fields: tuple[Field, ...]
    classes: tuple[str, ...] = ()
    video_header: str | None = None
    tasks: tuple[Task, ...] = ()
    dataset: str = ""

    @property
    def columns(self) -> int:
        """Values in a row, without the image name."""
        return len(self.fields)


def _affwild2(
    name: TrackName, columns: tuple[str, ...], fields: tuple[Field, ...], classes: tuple[str, ...], task: Task
) -> Track:
    header = ",".join(("image_location", *columns))
    return Track(name, header, fields, classes, ",".join(columns), (task,), "aff-wild2")


TRACKS: dict[str, Track] = {
    "expr": _affwild2("expr", EXPRESSIONS, ("class",), EXPRESSIONS, "expression"),
    "au": _affwild2("au", AUS, ("binary",) * 12, (), "aus"),
    "va": _affwild2("va", DIMENSIONS, ("score",) * 2, (), "va"),
    "mtl": Track(
        "mtl",
        "image,valence,arousal,expression,aus",
        ("score", "score", "class", *("binary",) * 12),
        EXPRESSIONS,
        tasks=("expression", "aus", "va"),
        dataset="s-aff-wild2",
    ),
    "lsd": Track("lsd", "image,expression", ("class",), LSD_EXPRESSIONS, tasks=("expression",), dataset="lsd"),
    "ce": Track("ce", ",".join(("image_location", *COMPOUNDS)), ("class",), COMPOUNDS),
}
TRAINED_TRACKS = tuple(name for name, track in TRACKS.items() if track.dataset)
VIDEO_TRACKS = ("expr", "au", "va")  # one annotation file a video
# MTL's parts in the official order of its files, each scored as the track of its own.
TRACK_OF_TASK: dict[str, str] = {"va": "va", "expression": "expr", "aus": "au"}

HEADERS = {track.header: track for track in TRACKS.values()}
VIDEO_HEADERS = {track.video_header: track for track in TRACKS.values() if track.video_header}


def trained_track(name: str) -> Track:
    """A track that can be trained, by name."""
    if name not in TRAINED_TRACKS:
        raise MienError(f"there is no track {name}; use one of: {', '.join(TRAINED_TRACKS)}", exit_code=2)
    return TRACKS[name]
