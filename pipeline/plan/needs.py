"""What each stage will take: hours, memory, disk; from how much there is and how fast this machine was on a little."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.graph import Training
from pipeline.plan.measure import Measured
from pipeline.plan.sizes import Media, Rows, faces_in
from pipeline.settings import Params
from pipeline.train.budget import stretched, stretched_training
from pipeline.train.fit import Train

FEATURE_BYTES, SCORE_BYTES = 2, 4


@dataclass(frozen=True)
class Sampled:
    """Seconds that one process needs for a frame, and the bytes of its crop, on average."""

    frame_seconds: float
    crop_bytes: float


@dataclass(frozen=True)
class Need:
    """What one stage takes."""

    stage: str
    seconds: float
    memory_bytes: int = 0
    gpu_bytes: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True)
class Known:
    """Everything that an estimate stands on. `measured` by stage, `ensemble_seconds` of a row by track."""

    params: Params
    media: list[Media]
    rows: Mapping[str, Rows]
    sampled: Mapping[tuple[str, str], Sampled]
    measured: Mapping[str, Measured]
    ensemble_seconds: Mapping[str, float]
    feature_widths: Mapping[str, int]
    start_seconds: float
    workers: int


def needs_of(known: Known) -> list[Need]:
    """The stages that take time, in their order; each has the start of its process in it."""
    graph = known.params.graph
    found = [_detection(known)]
    found += [_mae(known, name, folders) for name, folders in graph.encoders.items()]
    found += [_features(known, name) for name in graph.features if name != "feedback"]
    for track in graph.feedback:
        found.append(_feedback(known, track))
        found += [_features(known, name) for name in graph.features if name == graph.feedback[track].features]
        found.append(_temporal(known, track))
    found += [_training(known, name, line) for name, line in graph.trainings.items()]
    found += [
        Need(f"ensemble@{track}", _started(known, known.ensemble_seconds[track] * known.rows[track].validation))
        for track in graph.tracks
    ]
    return found


def _started(known: Known, seconds: float) -> float:
    return known.start_seconds + seconds


def _detection(known: Known) -> Need:
    """Frames spread over the workers; a crop lies once in the work store, which is linked into the outs."""
    pairs = [(part, known.sampled[part.dataset, part.kind]) for part in known.media]
    seconds = sum(part.frames * each.frame_seconds for part, each in pairs) / known.workers
    disk = sum(part.frames * each.crop_bytes for part, each in pairs)
    return Need("detect_align", _started(known, seconds), disk_bytes=round(disk))


def _mae(known: Known, name: str, folders: list[str]) -> Need:
    stage = f"pretrain_mae@{name}"
    settings, speed = known.params.pretrain_mae, known.measured[stage]
    settings = stretched(settings, settings.optimise, faces_in(known.media, folders))
    return _need(known, stage, settings.optimise.steps * speed.update_seconds, speed)


def _features(known: Known, name: str) -> Need:
    stage = f"cache_features@{name}"
    speed, datasets = known.measured[stage], known.params.cache_features.backbones[name].datasets
    faces = sum(part.frames for part in known.media if part.dataset in datasets)
    disk = faces * known.feature_widths[name] * FEATURE_BYTES
    return _need(known, stage, faces / speed.rows_a_second, speed, disk)


def _feedback(known: Known, track: str) -> Need:
    stage, settings = f"pretrain_feedback@{track}", known.params.systems["feedback"].spatial  # type: ignore[attr-defined]
    rows = known.rows[track]
    settings = stretched(settings, settings.train.optimise, rows.train)
    return _trained(known, stage, settings.train, rows, predicted=0)


def _temporal(known: Known, track: str) -> Need:
    stage, settings = f"finetune_temporal@{track}", known.params.systems["feedback"].temporal  # type: ignore[attr-defined]
    rows = known.rows[track]
    settings = stretched(settings, settings.train.optimise, rows.train // settings.window_frames)
    return _trained(known, stage, settings.train, rows, predicted=rows.test)


def _training(known: Known, name: str, line: Training) -> Need:
    settings: Any = known.params.systems[line.system]
    stage, rows = f"finetune@{name}", known.rows[line.track]
    if not hasattr(settings, "train"):  # a published network: its scores alone
        speed, predicted = known.measured[stage], rows.validation + rows.test
        return _need(known, stage, predicted / speed.rows_a_second, speed, predicted * SCORE_BYTES * 8)
    settings = stretched_training(settings, rows.train, line.updates)
    return _trained(known, stage, settings.train, rows, predicted=rows.validation - rows.judged + rows.test)


def _trained(known: Known, stage: str, train: Train, rows: Rows, predicted: int) -> Need:
    """Updates, the judged rows at each evaluation, and what is predicted at the end."""
    speed = known.measured[stage]
    evaluations = math.ceil(train.optimise.steps / train.evaluate_every_steps)
    scored = evaluations * rows.judged + predicted
    seconds = train.optimise.steps * speed.update_seconds + scored / speed.rows_a_second
    return _need(known, stage, seconds, speed, (rows.validation + rows.test) * SCORE_BYTES * 8)


def _need(known: Known, stage: str, seconds: float, speed: Measured, disk: int = 0) -> Need:
    return Need(stage, _started(known, seconds), speed.memory_bytes, speed.gpu_bytes, disk)
