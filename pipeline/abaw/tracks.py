"""The tracks of ABAW: class orders, official headers and what a prediction row holds."""

from dataclasses import dataclass
from typing import Literal

TrackName = Literal["expr", "au", "va", "mtl", "lsd", "ce"]
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
    `fields` says what each comma-separated value after the image name is.
    """

    name: TrackName
    header: str
    fields: tuple[Field, ...]
    classes: tuple[str, ...] = ()
    video_header: str | None = None

    @property
    def columns(self) -> int:
        """Values in a row, without the image name."""
        return len(self.fields)


def _affwild2(name: TrackName, columns: tuple[str, ...], fields: tuple[Field, ...], classes: tuple[str, ...]) -> Track:
    return Track(name, ",".join(("image_location", *columns)), fields, classes, ",".join(columns))


TRACKS: dict[str, Track] = {
    "expr": _affwild2("expr", EXPRESSIONS, ("class",), EXPRESSIONS),
    "au": _affwild2("au", AUS, ("binary",) * 12, ()),
    "va": _affwild2("va", DIMENSIONS, ("score",) * 2, ()),
    "mtl": Track(
        "mtl",
        "image,valence,arousal,expression,aus",
        ("score", "score", "class", *("binary",) * 12),
        EXPRESSIONS,
    ),
    "lsd": Track("lsd", "image,expression", ("class",), LSD_EXPRESSIONS),
    "ce": Track("ce", ",".join(("image_location", *COMPOUNDS)), ("class",), COMPOUNDS),
}

HEADERS = {track.header: track for track in TRACKS.values()}
VIDEO_HEADERS = {track.video_header: track for track in TRACKS.values() if track.video_header}
