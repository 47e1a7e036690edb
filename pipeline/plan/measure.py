"""A few updates of a training on this machine, in a process of its own so that its memory is its own.

usage, in a folder that `throwaway.py` filled: python -m pipeline.plan.measure finetune@vit-au RESULT.json
"""

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.system import Batch
from pipeline.abaw.tracks import trained_track
from pipeline.backbones.build import build_backbone
from pipeline.backbones.device import device
from pipeline.backbones.features import OWN, CachedBackbone, Extractor, features_of
from pipeline.core.files import write_json
from pipeline.core.graph import Needs
from pipeline.core.paths import EXTRA, FACES
from pipeline.faces.crops import Crops
from pipeline.run.command import run_main
from pipeline.settings import Params, load_params
from pipeline.systems import feedback
from pipeline.systems.named import system_module
from pipeline.systems.temporal import SequenceData, temporal_recipe
from pipeline.tables.features import Features
from pipeline.train.budget import scaled
from pipeline.train.fit import Job, Scored
from pipeline.train.loop import Loop, train
from pipeline.train.mae import Pool, build_mae
from pipeline.train.views import augmenter

UPDATES = 6
FEW = 8  # images of a first try: a batch that would take too long is timed in part
PATIENCE_SECONDS = 3.0  # of a whole update; a longer one is timed on few images and multiplied
EVERYTHING = (Path("artifacts"),)


@dataclass(frozen=True)
class Measured:
    """Seconds of an update, scored rows a second, and the largest memory of the process and of its GPU."""

    update_seconds: float
    rows_a_second: float
    memory_bytes: int
    gpu_bytes: int


def measure_training(name: str, params: Params) -> Measured:
    """A line of `graph.trainings`."""
    line = params.graph.trainings[name]
    settings: Any = params.systems[line.system]

    def made(chosen: Any) -> Scored:
        return system_module(line.system).recipe(chosen, _job(line.track, params, line.needs))

    if not hasattr(settings, "train"):
        return Measured(0.0, _scored_a_second(made(settings)), _resident(), _on_gpu())
    return _measured(made, settings, "train")


def measure_feedback(track: str, params: Params) -> Measured:
    """Phase one of the feedback system."""
    settings: Any = params.systems["feedback"]
    return _measured(lambda chosen: feedback.pair_recipe(chosen, _job(track, params)), settings.spatial, "train")


def measure_temporal(track: str, params: Params) -> Measured:
    """Phase two of the feedback system."""
    settings: Any = params.systems["feedback"]
    line = params.graph.feedback[track]
    features = Features(Path("artifacts/features") / line.features / line.faces)
    return _measured(lambda chosen: temporal_recipe(SequenceData(track, chosen, features)), settings.temporal, "train")


def measure_mae(_: str, params: Params) -> Measured:
    """Pretraining; nothing is scored."""
    pool, pixels = Pool([FACES / EXTRA]), params.vit.image_pixels

    def run(chosen: Any) -> tuple[float, float, int]:
        def batches(generator: np.random.Generator, _: int) -> Batch:
            rows = generator.integers(0, len(pool), chosen.optimise.batch)
            return {"images": torch.from_numpy(pool.images(rows, pixels))}

        module = build_mae(params.vit, chosen)
        before = _resident()
        return _seconds(module, batches, augmenter(chosen.augment, pixels), chosen.optimise), 0.0, before

    return _few_or_all(run, params.pretrain_mae, "")


def measure_features(name: str, params: Params) -> Measured:
    """The frozen network of cached features; no update."""
    cached = params.cache_features.backbones[name]
    extractor = extractor_of(cached, params)
    crops = Crops(EXTRA)
    jpegs = [crops.jpeg(row) for row in range(min(len(crops), 64))]
    features_of(extractor, jpegs[:FEW], FEW)
    began = time.perf_counter()
    features_of(extractor, jpegs, params.cache_features.batch)
    return Measured(0.0, len(jpegs) / (time.perf_counter() - began), _resident(), _on_gpu())


def extractor_of(cached: CachedBackbone, params: Params) -> Extractor:
    """The network of cached features with random weights."""
    settings: Any = params.systems["feedback"].spatial.backbone if cached.name == OWN else cached  # type: ignore[attr-defined]
    backbone = build_backbone(settings, params.vit, pretrained=False).to(device()).eval()
    return Extractor(backbone, backbone.pixels)


# --- how -------------------------------------------------------------------------------------------------------------


def _job(track: str, params: Params, named: Sequence[str] = ()) -> Job:
    needs = Needs("graph", (*EVERYTHING, *(Path(path) for path in dict.fromkeys(named))))
    common = params.finetune
    return Job(trained_track(track), params.vit, needs, common.evaluate_batch, pretrained=False, mirror=common.mirror)


def _measured(make: Any, settings: Any, part: str) -> Measured:
    """Updates of a recipe, then its scores of the judged rows."""

    def run(chosen: Any) -> tuple[float, float, int]:
        made = make(chosen)
        before = _resident()
        seconds = _seconds(made.module, made.batches, made.prepare, made.train.optimise)
        return seconds, _scored_a_second(made), before

    return _few_or_all(run, settings, part)


def _scored_a_second(made: Scored) -> float:
    """Rows of the judged axis that are scored a second; the first time does not count."""
    axis, module = made.data.validation, made.module.to(device()).eval()
    made.scores(module, axis)
    began = time.perf_counter()
    made.scores(module, axis)
    return len(axis) / (time.perf_counter() - began)


def _few_or_all(run: Any, settings: Any, part: str) -> Measured:
    """Time a whole batch, or a part of it where a whole one takes long; memory above the start grows with images."""
    batch = _optimise(settings, part).batch
    few = min(FEW, batch)
    seconds, rate, before = run(_with_batch(settings, part, few))
    if few < batch and seconds * batch / few <= PATIENCE_SECONDS:
        few = batch
        seconds, rate, before = run(_with_batch(settings, part, batch))
    times = batch / few
    memory = before + max(0, _resident() - before) * times
    return Measured(seconds * times, rate, round(memory), round(_on_gpu() * times))


def _optimise(settings: Any, part: str) -> Any:
    return (getattr(settings, part) if part else settings).optimise


def _with_batch(settings: Any, part: str, batch: int) -> Any:
    """Settings with a few updates that keep their phases, and batches of `batch`."""
    given = _optimise(settings, part)
    short = scaled(settings, UPDATES, given.steps)
    optimise = _optimise(short, part).model_copy(update={"batch": batch})
    changes: dict[str, Any] = {"optimise": optimise}
    if part:
        changes = {part: getattr(short, part).model_copy(update=changes)}
    if unlabelled := getattr(settings, "unlabelled_batch", 0):
        changes["unlabelled_batch"] = max(1, unlabelled * batch // given.batch)
    return short.model_copy(update=changes)


def _seconds(module: Any, batches: Any, prepare: Any, optimise: Any) -> float:
    """Mean seconds of an update, the first left out."""
    times: list[float] = []

    def seen(batch: Batch) -> Batch:
        times.append(time.perf_counter())
        return prepare(batch)

    with tempfile.TemporaryDirectory() as folder:
        run = Loop("plan", module, batches, seen, optimise, 0, Path(folder), lambda row, step: None)
        run.checkpoint_seconds, run.count_flops = 1e9, False
        train(run)
    times = [*times[:: optimise.accumulate], time.perf_counter()]
    later = [after - before for before, after in pairwise(times)][1:]
    return float(np.mean(later))


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _on_gpu() -> int:
    return torch.cuda.max_memory_allocated() if device().type == "cuda" else 0


FAMILIES = {
    "finetune": measure_training,
    "pretrain_feedback": measure_feedback,
    "finetune_temporal": measure_temporal,
    "pretrain_mae": measure_mae,
    "cache_features": measure_features,
}


def main() -> None:
    """Measure one thing."""
    stage, target = sys.argv[1:]
    family, _, name = stage.partition("@")
    write_json(Path(target), asdict(FAMILIES[family](name, load_params())))


if __name__ == "__main__":
    run_main(main)
