"""The exact form of a submission's row: what may follow the image name, and what is wrong where something else does."""

import re
from functools import cache

from pipeline.abaw.names import VIDEO_NAME
from pipeline.abaw.tracks import Field, Track

# Plain decimals within [-1, 1]; the range is part of the pattern, so one vectorised match checks form and range.
SCORE = r"-?(?:0(?:\.[0-9]+)?|1(?:\.0+)?)"
NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII)


def top_class(track: Track) -> int:
    """The largest class index of the track."""
    return len(track.classes) - 1


def _pattern(field: Field, track: Track) -> str:
    if field == "score":
        return SCORE
    return "[01]" if field == "binary" else f"[0-{top_class(track)}]"


@cache
def values_pattern(track: Track) -> str:
    """Regular expression (RE2) that the values of a row match as a whole."""
    return "^" + ",".join(_pattern(field, track) for field in track.fields) + "$"


def image_pattern(track: Track) -> str:
    """Regular expression (RE2) of image names where no template says which there are."""
    return r"^[0-9]+\.jpg$" if track.name == "lsd" else f"^{VIDEO_NAME.pattern}/[0-9]{{5,}}\\.jpg$"


def allowed(field: Field, track: Track) -> str:
    """What a value may be, in words."""
    if field == "score":
        return "a plain decimal in [-1, 1]"
    return "0 or 1" if field == "binary" else f"an integer 0-{top_class(track)}"


def example_values(track: Track) -> str:
    """Values of a well-formed row."""
    return ",".join({"score": "0.0000", "binary": "0", "class": "0"}[field] for field in track.fields)


def value_defect(values: str, track: Track) -> tuple[str, str, str]:
    """Message, expected and mend for `values`, the text behind the image name, which does not match the pattern."""
    expected = f"{track.columns} value{'s' if track.columns > 1 else ''} such as {example_values(track)}"
    if any(character.isspace() for character in values):
        return f"white space in {values[:60]!r}", "no spaces or tabs", "join the values with a bare comma"
    if '"' in values or "'" in values:
        return f"quotes in {values[:60]!r}", "no quotes", "write plain text, not a quoting CSV dialect"
    parts = values.split(",")
    if len(parts) == track.columns + 1 and parts[-1] == "":
        return "trailing comma", "no comma at the end of a row", "fill in the template's value instead of adding one"
    if len(parts) != track.columns:
        return f"{len(parts) if values else 0} values", expected, "write the values of this track, comma-separated"
    for number, (part, field) in enumerate(zip(parts, track.fields, strict=True), start=1):
        if not re.fullmatch(_pattern(field, track), part, re.ASCII):
            return _part_defect(number, part, field, track)
    raise AssertionError(f"{values!r} is well-formed")


def _part_defect(number: int, part: str, field: Field, track: Track) -> tuple[str, str, str]:
    expected = allowed(field, track)
    what = f"value {number} is {part[:40]!r}"
    if part == "":
        return f"value {number} is empty", expected, "fill the frame from its neighbours: every row needs a prediction"
    if part.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return what, expected, "fill frames without a prediction before writing"
    if not NUMBER.fullmatch(part):
        return what, expected, "write plain digits: no sign +, exponent, letters or bare point"
    if field == "score":
        return what, expected, "clip scores to [-1, 1]" if abs(float(part)) > 1 else "drop superfluous leading zeros"
    if "." in part:
        return what, expected, "write integers, not floats"
    return (
        what,
        expected,
        "write the class index of the official header's order" if field == "class" else "apply a threshold",
    )
