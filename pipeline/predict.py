"""The trained ensemble on a user's own pictures and videos.

Every frame of a video gets a row, with a face or without; a picture gets a row for each of its faces, or one that
says there is none. Scores are combined and, in videos, smoothed exactly as the submissions were.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file

from models.system import System
from models.temporal import TemporalEncoder
from pipeline import ensemble
from pipeline.abaw.tracks import AUS, EXPRESSIONS
from pipeline.base.params import Params
from pipeline.crops import decode_crops
from pipeline.ensemble import Fitted
from pipeline.errors import MienError
from pipeline.faces.detector import load_detector, verified_digest
from pipeline.faces.extract import Face, cut_face
from pipeline.faces.track import Follower
from pipeline.faces.video import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    UnreadableMedia,
    decode_image,
    frames_per_second,
    read_frames,
)
from pipeline.features import Extractor, features_of, load_student, student_extractor
from pipeline.layout import ENSEMBLE, SYSTEMS
from pipeline.scoring import Tasks
from pipeline.train.loop import device
from pipeline.train.predict import predict_images
from pipeline.train.systems import build_system, build_temporal

TRACKS = {"expr": "expression", "au": "aus", "va": "va"}


@dataclass(frozen=True)
class Seen:
    """One row to predict: where it is from and its face, if any."""

    source: Path
    frame: int
    seconds: float
    number: int
    face: Face | None


class Faces:
    """The crops of one file as JPEG, and the frame of each; decoded once a size, whoever asks."""

    def __init__(self, jpegs: list[bytes], frames: np.ndarray, batch: int) -> None:
        self.jpegs, self.frames, self.batch = jpegs, frames, batch
        self._images: dict[int, list[np.ndarray]] = {}

    def images(self, pixels: int) -> list[np.ndarray]:
        """Batches of RGB uint8 (B, 3, pixels, pixels), in order."""
        if pixels not in self._images:
            starts = range(0, len(self.jpegs), self.batch)
            self._images[pixels] = [decode_crops(self.jpegs[i : i + self.batch], pixels) for i in starts]
        return self._images[pixels]


@dataclass(frozen=True)
class TrackModel:
    """A track's members with their fitted combination. A member gives scores (N, ...) for faces."""

    task: str
    members: list[Callable[[Faces], np.ndarray]]
    fitted: Fitted


def find_media(source: Path) -> list[Path]:
    """The picture or video itself, or all below a folder, sorted."""
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    if source.is_dir():
        found = sorted(path for path in source.rglob("*") if path.suffix.lower() in known and path.is_file())
    else:
        found = [source] if source.is_file() and source.suffix.lower() in known else []
    if not found:
        what = "no picture or video in this folder" if source.is_dir() else "not a picture or video"
        raise MienError(f"{source}: {what} ({', '.join(sorted(known))})", exit_code=2)
    return found


def load_models(params: Params) -> list[TrackModel]:
    """The trained systems of EXPR, AU and VA and how they are combined."""
    models = []
    for track, task in TRACKS.items():
        path = ENSEMBLE / track / "fitted.json"
        if not path.is_file():
            raise MienError(f"{path} is missing: nothing is trained yet; run `make repro` first")
        how = json.loads(path.read_text())[task]
        fitted = Fitted(tuple(how["weights"].values()), how["half_window_frames"], tuple(how["au_thresholds"]))
        models.append(TrackModel(task, [_member(name, track, params) for name in how["weights"]], fitted))
    return models


def _member(name: str, track: str, params: Params) -> "FrameMember | TemporalMember":
    weights = load_file(SYSTEMS / track / name / "weights.safetensors")
    if name == "feedback":
        student = load_student(params)
        encoder = build_temporal(params, student.backbone.width)
        encoder.load_state_dict(weights)
        stride = params.systems.feedback.temporal.stride_frames
        return TemporalMember(student_extractor(student), encoder.eval().to(device()), stride)
    system = build_system(name, track, params, pretrained=False)
    system.load_state_dict(weights)
    return FrameMember(system.eval().to(device()), TRACKS[track])


@dataclass(frozen=True)
class FrameMember:
    """A system that looks at one face at a time."""

    system: System
    task: str

    def __call__(self, faces: Faces) -> np.ndarray:
        """Scores (N, ...) of crops."""
        return np.concatenate([predict_images(self.system, x)[self.task] for x in faces.images(self.system.pixels)])


@dataclass(frozen=True)
class TemporalMember:
    """The temporal encoder over the student's features: frames without a face are gaps in the video."""

    features: Extractor
    encoder: TemporalEncoder
    stride: int

    def __call__(self, faces: Faces) -> np.ndarray:
        """Scores (N, ...) of crops; the faces of one picture do not see each other."""
        frames = faces.frames
        found = torch.from_numpy(features_of(self.features, faces.jpegs, faces.batch)).float().to(device())
        if len(np.unique(frames)) < len(frames):
            seen = torch.ones(1, dtype=torch.bool, device=found.device)
            alone = [self.encoder.predict_video(row[None], seen, 1) for row in found]
            return torch.cat(alone).cpu().numpy()
        places = torch.from_numpy(frames - frames.min()).to(found.device)
        video = torch.zeros(int(places.max()) + 1, found.shape[1], device=found.device)
        present = torch.zeros(len(video), dtype=torch.bool, device=found.device)
        video[places], present[places] = found, True
        return self.encoder.predict_video(video, present, self.stride)[places].cpu().numpy()


class Finder:
    """Finds the faces of pictures and videos with the detector that the pipeline was trained with."""

    def __init__(self, params: Params) -> None:
        verified_digest(params.detect_align)
        self.params = params.detect_align
        self.detector = load_detector(self.params)

    def faces(self, source: Path) -> Iterator[Seen]:
        """All rows of one file."""
        if source.suffix.lower() in VIDEO_SUFFIXES:
            yield from self._video(source)
        else:
            yield from self._picture(source)

    def _video(self, source: Path) -> Iterator[Seen]:
        follower, rate = Follower(self.params.max_gap_frames), frames_per_second(source)
        for frame, image in enumerate(read_frames(source), 1):
            found = self.detector.detect(image)
            chosen = follower.choose(found)
            face = None if chosen is None else cut_face(image, found, chosen, self.params)
            yield Seen(source, frame, (frame - 1) / rate, 0, face)

    def _picture(self, source: Path) -> Iterator[Seen]:
        image = decode_image(source.read_bytes())
        found = self.detector.detect(image)
        for number in np.argsort(found.boxes[:, 0], kind="stable"):
            yield Seen(source, 1, 0.0, int(number), cut_face(image, found, int(number), self.params))
        if not len(found):
            yield Seen(source, 1, 0.0, 0, None)


def score(seen: list[Seen], models: list[TrackModel], params: Params) -> Tasks:
    """Scores (found faces, ...) of each task for the rows of one file, smoothed over its frames."""
    shown = [row for row in seen if row.face]
    frames = np.array([row.frame for row in shown])
    faces = Faces([row.face.jpeg for row in shown if row.face], frames, params.finetune.evaluate_batch)
    timed = len(np.unique(frames)) > 1
    axis = ensemble.Axis(np.zeros(len(shown)), frames, np.zeros(len(shown)), timed)
    return {
        model.task: ensemble.apply(model.task, model.fitted, axis, [member(faces) for member in model.members])
        for model in models
    }


def rows_of(seen: list[Seen], scores: Tasks, thresholds: tuple[float, ...]) -> list[dict[str, Any]]:
    """Plain rows for a table: where, whether there is a face, its box, and every score."""
    rows = []
    place = 0
    for item in seen:
        row: dict[str, Any] = {
            "source": item.source.as_posix(),
            "frame": item.frame,
            "seconds": round(item.seconds, 3),
            "face": item.number,
            "found": item.face is not None,
        }
        if item.face:
            row |= dict(zip(("x1", "y1", "x2", "y2"), (round(float(v), 1) for v in item.face.box), strict=True))
            row |= {"detection": round(item.face.score, 4)} | _scores_row(scores, place, thresholds)
            place += 1
        rows.append(row)
    return rows


def _scores_row(scores: Tasks, place: int, thresholds: tuple[float, ...]) -> dict[str, Any]:
    expression, aus, va = (scores[task][place] for task in ("expression", "aus", "va"))
    row: dict[str, Any] = {"expression": EXPRESSIONS[int(expression.argmax())]}
    row |= {f"p_{name}": round(float(p), 4) for name, p in zip(EXPRESSIONS, expression, strict=True)}
    row |= {unit: round(float(p), 4) for unit, p in zip(AUS, aus, strict=True)}
    row |= {f"{unit}_active": bool(p >= t) for unit, p, t in zip(AUS, aus, thresholds, strict=True)}
    return row | {"valence": round(float(va[0]), 4), "arousal": round(float(va[1]), 4)}


def table_schema() -> pa.Schema:
    """Columns of the output, whatever was found."""
    number = pa.float64()
    columns: list[tuple[str, pa.DataType]] = [("source", pa.string()), ("frame", pa.int64()), ("seconds", number)]
    columns += [("face", pa.int64()), ("found", pa.bool_()), *((name, number) for name in ("x1", "y1", "x2", "y2"))]
    columns += [("detection", number), ("expression", pa.string()), *((f"p_{name}", number) for name in EXPRESSIONS)]
    columns += [*((unit, number) for unit in AUS), *((f"{unit}_active", pa.bool_()) for unit in AUS)]
    return pa.schema([*columns, ("valence", number), ("arousal", number)])


def predict_file(source: Path, finder: Finder, models: list[TrackModel], params: Params) -> list[dict[str, Any]]:
    """All rows of one picture or video; `UnreadableMedia` when it cannot be decoded."""
    seen = list(finder.faces(source))
    if not seen:
        raise UnreadableMedia("no frame could be decoded")
    thresholds = next(model.fitted.au_thresholds for model in models if model.task == "aus")
    scores = score(seen, models, params) if any(row.face for row in seen) else {}
    return rows_of(seen, scores, thresholds)
