"""The public interface: media in, a table out. What the names mean is told in the README, "On your own faces"."""

import contextlib
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.core.errors import MienError

Media = str | os.PathLike[str] | np.ndarray
Trained = Literal["champion", "workspace"]


class MediaWarning(UserWarning):
    """A file that could not be read, of which a part is lost, or that is no picture or video."""


class Predictor:
    """A project's trained ensembles and its face detector, loaded once and asked many times.

    `project` is the root of a project in which something is trained. `trained`: whose ensembles answer, the champions
    where `mien retrain` has made some, or what lies in the project's `artifacts/`. `crops`: pictures are aligned faces,
    nothing is detected; `people`: everybody in a video gets rows, each person with a number. Loading changes the
    working directory for a moment. `MienError` where nothing is trained.
    """

    def __init__(
        self,
        project: str | os.PathLike[str] = ".",
        *,
        trained: Trained = "champion",
        crops: bool = False,
        people: bool = False,
    ) -> None:
        from pipeline.predict import predictor  # torch: two seconds
        from pipeline.retrain.champions import champion_homes

        if not Path(project, "params.yaml").is_file():
            raise MienError(f"{project}: holds no params.yaml; name the root of a project", exit_code=2)
        self._crops = crops
        with contextlib.chdir(project):
            homes = champion_homes() if trained == "champion" else {}
            self._predictor = predictor.Predictor(homes, crops=crops, people=people)

    @property
    def schema(self) -> pa.Schema:
        """The columns of every table: those of `mien predict`."""
        return self._predictor.columns.schema()

    def __call__(self, media: Media | Iterable[Media]) -> pa.Table:
        """A row for each face of a picture and each frame of a video, or one that says that there is none.

        A medium is a picture, a video or a folder of them, or an array: one picture, RGB uint8 (H, W, 3), whose
        `source` is `array 0` by its place among the media. What is unreadable, damaged or left out is a `MediaWarning`
        each; a path that is not there, or an array of another form, is a `MienError`.
        """
        given = [media] if isinstance(media, str | os.PathLike | np.ndarray) else list(media)
        rows = []
        for place, medium in enumerate(given):
            if isinstance(medium, np.ndarray):
                rows += self._predictor.picture(_as_bgr(medium, place), f"array {place}")
            else:
                rows += self._of_path(Path(medium))
        return pa.Table.from_pylist(rows, schema=self.schema)

    def _of_path(self, place: Path) -> list[dict[str, object]]:
        from pipeline.predict.predictor import listing_of, tried

        listing = listing_of(place, self._crops)
        for line in listing.passed_over():
            _warn(line)
        rows: list[dict[str, object]] = []
        for path in listing.used:
            found, fault = tried(self._predictor.file, path)
            rows += found
            if fault:
                _warn(f"{path}: {fault}")
        return rows


def predict(
    media: Media | Iterable[Media],
    *,
    project: str | os.PathLike[str] = ".",
    trained: Trained = "champion",
    crops: bool = False,
    people: bool = False,
) -> pa.Table:
    """What `mien predict` tells of some media, as a table with the same columns.

    Loads the ensembles at every call: a `Predictor` keeps them. The arguments are those of `Predictor` and of its call.
    """
    return Predictor(project, trained=trained, crops=crops, people=people)(media)


def _as_bgr(image: np.ndarray, place: int) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        form = f"{image.dtype} {image.shape}"
        raise MienError(f"array {place}: is {form}; give one picture as RGB uint8 (H, W, 3)", exit_code=2)
    return np.ascontiguousarray(image[..., ::-1])


def _warn(line: str) -> None:
    warnings.warn(line, MediaWarning, stacklevel=4)
