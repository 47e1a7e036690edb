"""Models, detector and columns, loaded once, and the rows of one file or picture."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.core.params import PARAMS, read_section
from pipeline.core.pictures import UnreadableMedia
from pipeline.core.suffixes import is_video
from pipeline.faces.detector import DetectAlign
from pipeline.faces.extract import SHORT_BY_FRAMES
from pipeline.faces.media import Frame, stated_frames
from pipeline.predict.media import Finder, Listing, ReadyCrops, Seen, find_media
from pipeline.predict.members import SOURCES, Faces, Home, TrackModel, load_models, score
from pipeline.predict.rendered import with_real_expressions
from pipeline.predict.stored import StoredCrops
from pipeline.predict.table import Columns, Row, rows_of
from pipeline.tables.scores import Tasks
from pipeline.train.fit import Finetune

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # no fault of a file
TASK_WORDS = {"expression": "expressions", "aus": "action units", "va": "valence and arousal"}


class Predictor:
    """The trained ensembles of a project with its detector; `homes` says where those of some tracks lie instead.

    Loaded from the working directory, which is the project's root; asked from any. `crops`: pictures are aligned faces;
    `people`: everybody in a video gets rows, each with a number.
    """

    def __init__(
        self,
        homes: Mapping[str, Home] | None = None,
        *,
        crops: bool = False,
        people: bool = False,
        progress: bool = False,
    ) -> None:
        self.models = with_real_expressions(load_models(homes))
        self.columns = Columns.of(self.models, people)
        self.told = sources_told(self.models)
        self.finder: Finder | ReadyCrops = ReadyCrops()
        if not crops:
            params, differing = detection(self.models)
            self.finder = Finder(params, people=people, progress=progress)
            self.told += differing
        self.batch = read_section("finetune", Finetune).evaluate_batch

    def file(self, source: Path) -> tuple[Iterator[Row], str]:
        """All rows of one picture, video or folder of crops, and what of it is lost ("" for nothing).

        A row is made when it is asked for: those of an hour of video are more than the video's other memory.
        `UnreadableMedia` when none of it can be decoded.
        """
        seen, rows = self._answer(self.finder.faces(source))
        return rows, loss_of(source, seen)

    def picture(self, image: np.ndarray, name: str) -> list[Row]:
        """All rows of a decoded BGR uint8 picture (H, W, 3), which the table calls `name`."""
        return list(self._answer(self.finder.picture(image, Path(name)))[1])

    def live(self, frames: Iterable[Frame], name: str) -> Iterator[list[Row]]:
        """The rows of each frame as it comes; the table calls their source `name`."""
        assert isinstance(self.finder, Finder)
        for seen in self.finder.moving(frames, Path(name)):
            yield list(self._answer(seen)[1])

    def _answer(self, faces: Iterable[Seen]) -> tuple[list[Seen], Iterator[Row]]:
        """What is seen, without the crops' bytes, and its rows in the same order."""
        with contextlib.closing(StoredCrops()) as crops:
            seen = kept_apart(faces, crops)
            scores = self._scores(seen, crops)
        return seen, rows_of(seen, scores, self.columns)

    def _scores(self, seen: list[Seen], crops: StoredCrops) -> Tasks:
        """Scores (faces, ...) of each task; each person's are smoothed over that person's own frames."""
        shown = [each for each in seen if each.face]
        by_person: dict[int | None, list[int]] = {}
        for place, each in enumerate(shown):
            by_person.setdefault(each.person, []).append(place)
        scores: Tasks = {}
        for places in by_person.values():
            frames = np.array([shown[place].frame for place in places])
            for task, own in score(Faces(crops.chosen(places), frames, self.batch), self.models).items():
                values = scores.setdefault(task, np.empty((len(shown), *own.shape[1:]), own.dtype))
                values[places] = own
        return scores


def kept_apart(faces: Iterable[Seen], crops: StoredCrops) -> list[Seen]:
    """What is seen, without the crops of the faces, which go into `crops` in the same order."""
    seen = []
    for each in faces:
        if each.face:
            crops.append(each.face.jpeg)
            each = replace(each, face=replace(each.face, jpeg=b""))
        seen.append(each)
    return seen


def listing_of(place: Path, crops: bool) -> Listing:
    """What is predicted of a file or a folder, and what of it is not."""
    return ReadyCrops.sources(place) if crops else find_media(place)


def loss_of(source: Path, seen: list[Seen]) -> str:
    """What a damaged video has lost, in a few words."""
    frames, lost = len({row.frame for row in seen}), sum(row.lost for row in seen)
    stated = stated_frames(source) if is_video(source.name) else 0
    told = [f"{lost} of {frames} frames could not be decoded"] if lost else []
    if frames < stated - SHORT_BY_FRAMES:
        told.append(f"it ends after {frames} of the {stated} frames that it states")
    return "; ".join(told)


def sources_told(models: list[TrackModel]) -> list[str]:
    """Which trained ensemble answers what, and what nobody answers: a line each."""
    lines = []
    for model in models:
        told = f"{', '.join(TASK_WORDS[task] for task in model.fitted)}: {model.label}"
        told += f", {model.home.name}" if model.home.name else ""
        lines.append(told + (f"; {model.note}" if model.note else ""))
    silent = TASK_WORDS.keys() - {task for model in models for task in model.fitted}
    for task in sorted(silent):
        tracks = " or ".join(track.upper() for track in SOURCES[task])
        lines.append(f"{TASK_WORDS[task]}: left out, no {tracks} is trained")
    return lines


def detection(models: list[TrackModel]) -> tuple[DetectAlign, list[str]]:
    """How the first model's faces were found, and a line for each other whose faces were found otherwise."""
    by_track = {m.track.name: read_section("detect_align", DetectAlign, m.home.folder / PARAMS) for m in models}
    (first, chosen), *others = by_track.items()
    line = "faces are found as {} has it in its params; {} was trained on faces found otherwise"
    return chosen, [line.format(first, track) for track, params in others if params != chosen]


def tried(predict: Callable[[Path], tuple[Iterable[Row], str]], path: Path) -> tuple[Iterable[Row], str]:
    """A file's rows and faults; whatever breaks on it (a decoder, an ONNX session, memory) costs this file alone."""
    try:
        return predict(path)
    except UnreadableMedia as error:
        return [], str(error)
    except BrokenPipeError:  # nobody reads what is told
        raise
    except Exception as error:
        if os.environ.get("MIEN_DEBUG") or getattr(error, "errno", None) in DISK_FULL:
            raise
        reason = getattr(error, "strerror", None) or str(error).strip() or "no reason given"
        return [], f"{type(error).__name__}: {reason.splitlines()[0][:200]}"
