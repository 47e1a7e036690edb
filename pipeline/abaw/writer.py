"""Writers of submissions: the template's rows, order and header bytes, exactly."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.abaw.readers import Template
from pipeline.abaw.tracks import EXPRESSIONS, TRACK_OF_TASK, TRACKS, Track
from pipeline.core.errors import MienError
from pipeline.core.params import Section

DECIMALS = 4


class Submit(Section):
    """The submission file's name; organisers circulate it with the test set."""

    file_name: str = Field(pattern=r"^[\w.-]+$")


def submission_bytes(template: Template, predictions: Any, decimals: int = DECIMALS) -> bytes:
    """The submission file of editions 5 and later, one row for each row of `template`.

    `predictions` by track: EXPR, LSD, CE integers of shape (rows,); AU 0/1 of shape (rows, 12); VA floats of
    shape (rows, 2); MTL a dict of "va", "expression" and "aus" with those shapes. VA is clipped to [-1, 1] and
    written with `decimals` decimals. MienError when a shape, a range or a NaN would make the file invalid.
    """
    columns = _columns(template.track, predictions, len(template), decimals)
    end = template.newline.decode()
    lines = pc.binary_join_element_wise(template.images, *columns, ",")
    return template.header + _joined(lines, end)


def _joined(lines: pa.Array, end: str) -> bytes:
    """Lines with `end` after each, as bytes."""
    if not len(lines):
        return b""
    ended = pc.binary_join_element_wise(lines, "", end)
    return b"".join(_buffer(chunk) for chunk in (ended.chunks if isinstance(ended, pa.ChunkedArray) else [ended]))


def _buffer(strings: pa.StringArray) -> bytes:
    """The text of a string array without separators, taken from its data buffer."""
    offsets = np.frombuffer(strings.buffers()[1], np.int32)[strings.offset : strings.offset + len(strings) + 1]
    return strings.buffers()[2].to_pybytes()[offsets[0] : offsets[-1]]


def _columns(track: Track, predictions: Any, rows: int, decimals: int) -> list[pa.Array]:
    """One string array for each value of a row."""
    if track.name == "mtl":
        missing = set(TRACK_OF_TASK) - set(predictions)
        if missing:
            raise MienError(f"MTL predictions lack {', '.join(sorted(missing))}")
        parts = [_columns(TRACKS[name], predictions[task], rows, decimals) for task, name in TRACK_OF_TASK.items()]
        return [column for part in parts for column in part]
    values = np.asarray(predictions)
    wanted = (rows,) if track.columns == 1 else (rows, track.columns)
    if values.shape != wanted:
        raise MienError(
            f"{track.name.upper()} predictions of shape {values.shape}, expected {wanted}. "
            "Mend: predict for every row of the template, in its order"
        )
    if track.name == "va":
        return [_scores(values[:, i], decimals) for i in range(2)]
    return [_integers(column, track) for column in values.reshape(rows, track.columns).T]


def _first_bad(good: np.ndarray) -> int:
    return int(np.flatnonzero(~good)[0])


def _scores(values: np.ndarray, decimals: int) -> pa.Array:
    """Floats as text with a fixed number of decimals, -0 written as 0."""
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise MienError(f"VA prediction {_first_bad(np.isfinite(values)) + 1} is NaN or infinite: nothing is written")
    units = np.rint(np.clip(values, -1, 1) * 10**decimals).astype(np.int64)
    # A score is one of 2 * 10^decimals + 1 texts, so each is formatted once and taken by index.
    distinct, codes = np.unique(units, return_inverse=True)
    texts = pa.array([f"{unit / 10**decimals:.{decimals}f}" for unit in distinct.tolist()], pa.string())
    return texts.take(pa.array(codes))


def _integers(values: np.ndarray, track: Track) -> pa.Array:
    top = 1 if track.name == "au" else len(track.classes or EXPRESSIONS) - 1
    with np.errstate(invalid="ignore"):
        good = (values >= 0) & (values <= top) & (values == np.rint(values))
    if not good.all():
        row = _first_bad(good)
        raise MienError(
            f"{track.name.upper()} prediction {row + 1} is {values[row]}, not an integer 0-{top}: nothing is written"
        )
    return pc.cast(pa.array(values.astype(np.int64)), pa.string())
