"""The trained members and how they are combined, for faces that are not of the release.

Each task is answered by the best source that is trained: its own track, else MTL, else LSD for expressions. Scores are
combined and, in videos, smoothed exactly as the submissions were.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors.torch import load_file

from models.system import System
from models.temporal import TemporalEncoder
from pipeline.abaw.tracks import TRACKS, Track
from pipeline.backbones.device import device
from pipeline.backbones.encoder import Vit
from pipeline.backbones.features import CacheFeatures, Extractor, features_of
from pipeline.core.errors import MienError
from pipeline.core.graph import Graph, Needs, Training, feature_folder
from pipeline.core.params import read_section
from pipeline.core.paths import ENSEMBLE, FEEDBACK, SYSTEMS
from pipeline.ensemble.fit import Ensemble, Timeline, combined
from pipeline.faces.crops import decode_crops
from pipeline.predict.stored import StoredFeatures
from pipeline.systems import feedback, temporal
from pipeline.systems.extractor import extractor_of
from pipeline.systems.named import system_module
from pipeline.tables.fitted import Fitted, read_fitted
from pipeline.tables.scores import Tasks
from pipeline.train.fit import Finetune, Job, task_weights
from pipeline.train.infer import predict_images

SOURCES = {"expression": ("expr", "mtl", "lsd"), "aus": ("au", "mtl"), "va": ("va", "mtl")}
KEPT_BYTES = 2**26  # of decoded crops, a size
PART_BATCHES = 8  # of crops that are in memory at once


class Faces:
    """The crops of one file as JPEG, and the frame of each; decoded once a size, whoever asks, where that is not much.

    An hour of video has 100,000 crops, 16 GB decoded at 224 pixels: these are decoded for each that asks.
    """

    def __init__(self, jpegs: Sequence[bytes], frames: np.ndarray, batch: int) -> None:
        self.jpegs, self.frames, self.batch = jpegs, frames, batch
        self._images: dict[int, list[np.ndarray]] = {}

    def images(self, pixels: int) -> Iterable[np.ndarray]:
        """Batches of RGB uint8 (B, 3, pixels, pixels), in order."""
        if 3 * pixels**2 * len(self.jpegs) > KEPT_BYTES:
            return self._decoded(pixels)
        if pixels not in self._images:
            self._images[pixels] = list(self._decoded(pixels))
        return self._images[pixels]

    def features(self, extractors: Sequence[Extractor]) -> Iterator[np.ndarray]:
        """float16 features (N, D) of several networks side by side, a part of the faces at a time."""
        for jpegs in self._parts(PART_BATCHES * self.batch):
            yield np.concatenate([features_of(extractor, jpegs, self.batch) for extractor in extractors], axis=1)

    def _decoded(self, pixels: int) -> Iterator[np.ndarray]:
        return (decode_crops(jpegs, pixels) for jpegs in self._parts(self.batch))

    def _parts(self, rows: int) -> Iterator[list[bytes]]:
        return (list(self.jpegs[start : start + rows]) for start in range(0, len(self.jpegs), rows))


@dataclass(frozen=True)
class Home:
    """A project's root, or a folder laid out like one, that holds a trained ensemble; `name` says what it is."""

    folder: Path = Path()
    name: str = ""


@dataclass(frozen=True)
class TrackModel:
    """A track's members with their fitted combination for some of its tasks. A member gives scores for faces.

    `by` names what answers where that is no ensemble of the track, `note` says why.
    """

    track: Track
    fitted: dict[str, Fitted]
    names: list[str]
    members: list[Callable[[Faces], Tasks]]
    home: Home = Home()
    by: str = ""
    note: str = ""

    @property
    def label(self) -> str:
        """What answers, in a few words."""
        return self.by or f"{self.track.name}'s {', '.join(self.names)}"


@dataclass(frozen=True)
class FrameMember:
    """A system that looks at one face at a time, and with `mirror` at the face's mirror too."""

    system: System
    mirror: bool

    def __call__(self, faces: Faces) -> Tasks:
        """Scores (N, ...) of crops, by task."""
        return joined([predict_images(self.system, images, self.mirror) for images in faces.images(self.system.pixels)])


@dataclass(frozen=True)
class TemporalMember:
    """A temporal encoder over the features of its networks: frames without a face are gaps in the video."""

    features: Sequence[Extractor]
    encoder: TemporalEncoder
    stride: int

    def __call__(self, faces: Faces) -> Tasks:
        """Scores (N, ...) of crops, by task; the faces of one picture do not see each other."""
        if len(np.unique(faces.frames)) < len(faces.frames):
            found = torch.from_numpy(np.concatenate(list(faces.features(self.features)))).float().to(device())
            seen = torch.ones(1, dtype=torch.bool, device=found.device)
            alone = [self.encoder.predict_video(row[None], seen, 1) for row in found]
            return joined([_as_arrays(scores) for scores in alone])
        with contextlib.closing(StoredFeatures(faces.frames - faces.frames.min(), device())) as video:
            for part in faces.features(self.features):
                video.append(part)
            # it is asked for windows of frames as a tensor is
            scores = self.encoder.predict_video(cast(torch.Tensor, video), video.present, self.stride)
        return _as_arrays({task: values[video.places] for task, values in scores.items()})


def _as_arrays(scores: Mapping[str, torch.Tensor]) -> Tasks:
    return {task: values.cpu().numpy() for task, values in scores.items()}


@dataclass(frozen=True)
class TasksApart:
    """A training that kept the best step of each task apart."""

    by_task: dict[str, FrameMember]

    def __call__(self, faces: Faces) -> Tasks:
        """Scores (N, ...) of crops, each task by its own network."""
        return {task: member(faces)[task] for task, member in self.by_task.items()}


@dataclass(frozen=True)
class MeanMember:
    """The mean of several trainings."""

    trainings: list[FrameMember | TasksApart | TemporalMember]

    def __call__(self, faces: Faces) -> Tasks:
        """Scores (N, ...) of crops, by task."""
        answers = [training(faces) for training in self.trainings]
        return {task: np.mean([answer[task] for answer in answers], axis=0) for task in answers[0]}


def load_models(homes: Mapping[str, Home] | None = None) -> list[TrackModel]:
    """The trained ensembles that answer some task, each task by the first of its sources that is trained.

    `homes`: where a track's ensemble lies, for those that this project's own does not answer for.
    """
    homes = homes or {}
    answered: dict[str, list[str]] = {}
    for task, sources in SOURCES.items():
        track = next((track for track in sources if track in homes or fitted_path(track).is_file()), None)
        if track:
            answered.setdefault(track, []).append(task)
    if not answered:
        raise MienError(f"{ENSEMBLE} holds no ensemble: nothing is trained yet; run `make repro` first")
    return [load_track(track, tasks, homes.get(track, Home())) for track, tasks in answered.items()]


def fitted_path(track: str) -> Path:
    """Where a track's fitted ensemble lies."""
    return ENSEMBLE / track / "fitted.json"


def load_track(track: str, tasks: Sequence[str], home: Home = Home()) -> TrackModel:
    """A track's ensemble, for some of its tasks, without the members that have no weight in any of them.

    `MienError` where their weights do not fit params and code.
    """
    with contextlib.chdir(home.folder):  # params and members are found from a project's root
        every, found = read_fitted(fitted_path(track))
        used = [number for number in range(len(every)) if any(found[task].weights[number] for task in tasks)]
        names = [every[number] for number in used]
        fitted = {t: replace(found[t], weights=tuple(found[t].weights[number] for number in used)) for t in tasks}
        trainings = read_section("ensemble", Ensemble).trainings_of(track)
        try:
            members = [_joined([load_member(track, one) for one in trainings.get(name, [name])]) for name in names]
        except (RuntimeError, KeyError) as error:  # torch's and ours, where names or shapes are not the network's
            told = (str(error) or type(error).__name__).splitlines()[0][:120]
            mend = "`mien predict --from workspace` leaves it out" if home.name else "`mien repro` trains it anew"
            raise MienError(f"{home.name or track}: its weights do not fit this code ({told}); {mend}") from None
    return TrackModel(TRACKS[track], fitted, names, members, home)


def _joined(trainings: list[FrameMember | TasksApart | TemporalMember]) -> Callable[[Faces], Tasks]:
    return trainings[0] if len(trainings) == 1 else MeanMember(trainings)


def load_member(track: str, member: str) -> FrameMember | TasksApart | TemporalMember:
    """A trained member of a track's ensemble, by the name that it has there."""
    graph, vit = read_section("graph", Graph), read_section("vit", Vit)
    folder = SYSTEMS / track / member
    whole = folder / "weights.safetensors"
    if member == "feedback" and track in graph.feedback:
        settings = read_section("systems.feedback", feedback.Settings)
        classes = len(TRACKS[track].classes)
        student = feedback.load_student(settings.spatial, vit, classes, FEEDBACK / track)
        return _temporal_member([feedback.student_extractor(student)], settings.temporal, track, load_file(whole))
    for name, training in graph.trainings.items():
        if (training.track, training.member) == (track, member):
            if training.system == "temporal":
                chosen = read_section("systems.temporal", temporal.Settings)
                return _temporal_member(_extractors(training, graph), chosen, track, load_file(whole))
            mirror = read_section("finetune", Finetune).mirror
            job = Job(TRACKS[track], vit, Needs(name, ()), 0, pretrained=False, mirror=mirror)
            apart = {task: folder / task_weights(task) for task in job.track.tasks}
            if all(path.is_file() for path in apart.values()):
                return TasksApart({t: _frame_member(training.system, job, load_file(p)) for t, p in apart.items()})
            return _frame_member(training.system, job, load_file(whole))
    raise MienError(f"params.yaml: nothing in graph makes {member} of {track}; run `dvc repro`")


def _extractors(training: Training, graph: Graph) -> list[Extractor]:
    """The networks whose cached features a temporal training reads, in the order of its line."""
    cached = read_section("cache_features", CacheFeatures).backbones
    found = map(feature_folder, Needs.of("graph.trainings", training.needs).paths)
    names = [folder.backbone for folder in found if folder]
    return [extractor_of(cached[name], Path(graph.features[name].weights)) for name in names]


def _temporal_member(
    features: Sequence[Extractor], settings: temporal.Temporal, track: str, weights: dict[str, torch.Tensor]
) -> TemporalMember:
    encoder = temporal.build_encoder(settings, weights["embed.weight"].shape[1], track)
    encoder.load_state_dict(weights)
    return TemporalMember(features, encoder.eval().to(device()), settings.stride_frames)


def _frame_member(system: str, job: Job, weights: dict[str, torch.Tensor]) -> FrameMember:
    module = system_module(system)
    built = module.build(read_section(f"systems.{system}", module.Settings), job)
    built.load_state_dict(weights)
    return FrameMember(built.eval().to(device()), job.mirror)


def score(faces: Faces, models: list[TrackModel]) -> Tasks:
    """Scores (N, ...) of each task for the faces of one file, smoothed over its frames."""
    count, timed = len(faces.frames), len(np.unique(faces.frames)) > 1
    timeline = Timeline(np.zeros(count), faces.frames, np.zeros(count), timed)
    scores: Tasks = {}
    for model in models:
        answers = [member(faces) for member in model.members]
        for task, fitted in model.fitted.items():
            scores[task] = combined(fitted, timeline, [answer[task] for answer in answers])
    return scores


def joined(parts: Sequence[Tasks]) -> Tasks:
    """Batches of scores as one."""
    return {task: np.concatenate([part[task] for part in parts]) for task in parts[0]}
