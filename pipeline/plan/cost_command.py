"""`mien plan`: what a whole run will take on this machine, before it is started.

The data are counted in the manifest, a few frames are detected, and a few updates of each training are run on made-up
faces in a folder that is thrown away, each in a process of its own. Nothing of the project changes.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil

from pipeline.abaw.tracks import AUS, TRACKS
from pipeline.core.code import ROOT
from pipeline.core.errors import MienError
from pipeline.ensemble.fit import Ensemble, Timeline
from pipeline.ensemble.judge import judge
from pipeline.faces.detector import DetectAlign
from pipeline.faces.extract import extract_some
from pipeline.plan import throwaway
from pipeline.plan.measure import Measured, extractor_of
from pipeline.plan.needs import Known, Need, Sampled, needs_of
from pipeline.plan.sizes import Media, media, track_rows
from pipeline.run.dag import dvc_command
from pipeline.run.parallel import worker_count
from pipeline.run.progress import Progress
from pipeline.settings import Params, load_params
from pipeline.tables.scores import Tasks
from pipeline.train.randomness import seed_step

SAMPLE_FRAMES = 24
ENSEMBLE_ROWS, ENSEMBLE_VIDEOS = 20_000, 40  # enough that the rows take longer than the calls
GIGA = 1e9


def plan(as_json: bool) -> int:
    """Measure, then tell; 1 where the machine has less than the run needs."""
    params = load_params()
    _ingest()
    found = media(Path(params.data.root))
    needs = needs_of(know(params, found))
    if as_json:
        print(json.dumps({"stages": [asdict(need) for need in needs]}, indent=1))
        return 0
    return tell(needs, found)


def _ingest() -> None:
    """The manifest as the params ask for it: seconds, and it says itself what is wrong with the data."""
    if subprocess.run([dvc_command(), "repro", "--quiet", "ingest"]).returncode:
        raise MienError("the data cannot be read; what is wrong stands above")


def know(params: Params, found: list[Media]) -> Known:
    """Everything that an estimate stands on, measured."""
    wanted, root = stages_to_measure(params), Path(params.data.root)
    with Progress("plan", len(wanted) + len(found) + 1, "parts") as bar, tempfile.TemporaryDirectory() as folder:
        start = _start_seconds()
        bar.advance(note="start of a process")
        sampled = {(part.dataset, part.kind): sample(part, root, params.detect_align) for part in found}
        bar.advance(len(found), note="detection")
        place, widths = Path(folder), _feature_widths(params)
        throwaway.make(place, _crop_pixels(found, params), widths)
        for name in ("params.yaml", "weights.yaml"):
            shutil.copy(name, place / name)
        measured = {}
        for stage in wanted:
            measured[stage] = _measured(stage, place)
            bar.advance(note=stage)
    tracks = params.graph.tracks
    return Known(
        params=params,
        media=found,
        rows={track: track_rows(track) for track in tracks},
        sampled=sampled,
        measured=measured,
        ensemble_seconds={track: ensemble_seconds(track, params.ensemble) for track in tracks},
        feature_widths=widths,
        start_seconds=start,
        workers=worker_count(),
    )


def stages_to_measure(params: Params) -> list[str]:
    """The stages whose speed is measured by running a little of them."""
    graph = params.graph
    families: dict[str, list[str]] = {
        "pretrain_mae": [*graph.encoders],
        "cache_features": [*graph.features],
        "pretrain_feedback": [*graph.feedback],
        "finetune_temporal": [*graph.feedback],
        "finetune": [*graph.trainings],
    }
    return [f"{family}@{name}" for family, names in families.items() for name in names]


def sample(part: Media, root: Path, params: DetectAlign) -> Sampled:
    """A few frames of a data set, found and cut as they will be."""
    extract_some(part.example, root, params, 1)  # the detector is loaded
    began = time.perf_counter()
    faces = extract_some(part.example, root, params, SAMPLE_FRAMES)
    seconds = (time.perf_counter() - began) / max(1, len(faces))
    return Sampled(seconds, sum(len(face.jpeg) for face in faces if face) / max(1, len(faces)))


def ensemble_seconds(track: str, settings: Ensemble) -> float:
    """Seconds a row of validation that fitting and judging a track's ensemble take."""
    generator = np.random.default_rng(0)
    sizes = {"expression": max(1, len(TRACKS[track].classes)), "aus": len(AUS), "va": 2}
    rows = ENSEMBLE_ROWS
    labels: Tasks = {
        "expression": generator.integers(0, sizes["expression"], rows),
        "aus": generator.integers(0, 2, (rows, len(AUS))),
        "va": generator.uniform(-1, 1, (rows, 2)),
    }
    labels = {task: labels[task] for task in TRACKS[track].tasks}
    members = [{task: generator.random((rows, sizes[task])) for task in labels} for _ in settings.trainings_of(track)]
    videos = np.repeat([f"v{number:02d}" for number in range(ENSEMBLE_VIDEOS)], rows // ENSEMBLE_VIDEOS)
    frames = np.tile(np.arange(1, rows // ENSEMBLE_VIDEOS + 1), ENSEMBLE_VIDEOS)
    timeline = Timeline(videos, frames, videos, timed=track != "lsd")
    began = time.perf_counter()
    judge(track, timeline, members, labels, settings)
    return (time.perf_counter() - began) / rows


def tell(needs: list[Need], found: list[Media]) -> int:
    """The table, and what the machine lacks."""
    counted = ", ".join(f"{part.frames:,} of {part.dataset} ({part.kind})" for part in found)
    print(f"frames and pictures: {counted}")
    print(f"{'stage':<28}{'h:mm:ss':>10}{'memory GB':>11}{'GPU GB':>8}{'disk GB':>9}")
    for need in needs:
        sizes = (need.memory_bytes, need.gpu_bytes, need.disk_bytes)
        cells = [f"{size / GIGA:.1f}" if size else "" for size in sizes]
        print(f"{need.stage:<28}{_clock(need.seconds):>10}{cells[0]:>11}{cells[1]:>8}{cells[2]:>9}")
    memory, disk = max(need.memory_bytes for need in needs), sum(need.disk_bytes for need in needs)
    print(f"{'all, one after another':<28}{_clock(sum(need.seconds for need in needs)):>10}{memory / GIGA:>11.1f}")
    lacks = []
    free, there = shutil.disk_usage(".").free, psutil.virtual_memory().total
    print(f"disk: {disk / GIGA:.1f} GB here and as much in DVC's cache where it copies; {free / GIGA:.1f} GB are free")
    if 2 * disk > free:
        lacks.append("disk")
    if memory > there:
        lacks.append(f"memory ({there / GIGA:.1f} GB)")
    if lacks:
        print(f"This machine has too little {' and '.join(lacks)}: smaller batches, networks or crops need less")
    return 1 if lacks else 0


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _feature_widths(params: Params) -> dict[str, int]:
    """Length of each cached backbone's features."""
    seed_step(0, 0)
    backbones = params.cache_features.backbones
    return {name: extractor_of(backbones[name], params).network.width for name in params.graph.features}  # type: ignore[misc]


def _crop_pixels(found: list[Media], params: Params) -> int:
    """Side of the crops that training will read: the organisers' own where these are taken."""
    ready = any(part.kind in ("crops", "aligned") for part in found)
    return 112 if ready else params.detect_align.crop_pixels


def _start_seconds() -> float:
    """Start and end of a process with the libraries that a training loads."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import mlflow, pipeline.train.fit"], cwd=ROOT, check=True)
    return time.perf_counter() - began


def _measured(stage: str, place: Path) -> Measured:
    """One measurement in a process of its own, in the throw-away folder."""
    target = place / f"{stage}.json"
    command = [sys.executable, "-m", "pipeline.plan.measure", stage, target.name]
    environment = {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONPATH": str(ROOT)}  # one thread, as a stage has it
    run = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise MienError(f"{stage} cannot be measured: {last.removeprefix('error: ')}")
    return Measured(**json.loads(target.read_text()))
