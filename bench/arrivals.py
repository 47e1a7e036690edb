"""What one recording more costs: detection and features of N short clips from nothing, and of one added to them.

Clips of two seconds are cut from a rendered one, each with its own brightness, so that no two have the same bytes. The
stages run as they do in the graph, a process each, on a workspace of their own; seconds are those of the clock and of
the processors, and shards are counted in the work store. What a stage costs where nothing is new is the constant.

usage, after `make repro`: python -m bench.arrivals
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from bench.warm import processor_seconds
from models.vit import build_vit
from pipeline.abaw.tracks import TRACKS
from pipeline.backbones.encoder import save_encoder
from pipeline.core.code import ROOT
from pipeline.core.files import write_json
from pipeline.core.paths import ENCODER
from pipeline.core.workstore import STORE
from pipeline.faces.media import read_frames
from pipeline.settings import load_params
from pipeline.train.randomness import seed_step

RESULT = Path("docs/benchmarks/arrivals.json")
SOURCES = Path("data/raw/demo/videos")
CLIPS = (10, 40, 160)
FRAMES = 50  # two seconds
STAGES = {"ingest": [], "detect_align": [], "cache_features": ["mae"]}
SHARDS = {"detect_align": "detect_align", "cache_features": "cache_features-mae"}


def source_frames() -> list[np.ndarray]:
    """The first frames of the first rendered video that is long enough."""
    for path in sorted(SOURCES.rglob("*.mp4")):
        frames = [frame.image for frame in read_frames(path) if frame.image is not None]
        if len(frames) >= FRAMES:
            return frames[:FRAMES]
    raise SystemExit(f"{SOURCES}: no video of {FRAMES} frames; `make repro` renders the demo")


def add_clip(root: Path, number: int, frames: list[np.ndarray]) -> None:
    """Clip `number` with labels of VA, every fifth for validation."""
    path = root / f"videos/{number}.avi"
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (width, height))
    for image in frames:
        writer.write(cv2.convertScaleAbs(image[..., ::-1], alpha=1 - number / 1000))
    writer.release()
    split = "Train_Set" if number % 5 else "Validation_Set"
    labels = root / f"annotations/VA_Set/{split}/{number}.txt"
    labels.parent.mkdir(parents=True, exist_ok=True)
    labels.write_text("\n".join([TRACKS["va"].video_header or "", *["0.5,0.25"] * len(frames)]) + "\n")


def make_workspace(place: Path) -> None:
    """The project's definitions with a release of its own, and an encoder that need not have learnt anything."""
    for name in ("dvc.yaml", "weights.yaml"):
        shutil.copyfile(ROOT / name, place / name)
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["data"] = {"root": "data/raw/clips", "name": "clips"}
    tree["cache_features"]["backbones"]["mae"]["datasets"] = ["aff-wild2"]
    (place / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    params = load_params(place / "params.yaml")
    seed_step(0, 0)
    save_encoder(place / ENCODER, build_vit(**params.vit.model_dump()), params.vit, [])


def run_stages(place: Path) -> dict[str, dict[str, float]]:
    """Seconds and new shards of each stage, in order."""
    told = {}
    for stage, arguments in STAGES.items():
        before, used, started = _shards(place, stage), processor_seconds(), time.perf_counter()
        command = [sys.executable, "-m", f"stages.{stage}", *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)
        seconds, processor = time.perf_counter() - started, processor_seconds() - used
        made = len(_shards(place, stage) - before)
        told[stage] = {"seconds": round(seconds, 1), "processor_seconds": round(processor, 1), "shards_made": made}
    return told


def _shards(place: Path, stage: str) -> set[str]:
    return {path.name for path in (place / STORE / SHARDS.get(stage, "none")).glob("*.parquet")}


def measure(clips: int, frames: list[np.ndarray]) -> dict[str, Any]:
    """All from nothing, nothing new, and one more."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_workspace(place)
        for number in range(1, clips + 1):
            add_clip(place / "data/raw/clips", number, frames)
        told: dict[str, Any] = {"clips": clips, "all": run_stages(place), "none": run_stages(place)}
        add_clip(place / "data/raw/clips", clips + 1, frames)
        return told | {"one": run_stages(place)}


def main() -> None:
    frames = source_frames()
    rows = [measure(clips, frames) for clips in CLIPS]
    write_json(RESULT, {"cores": os.cpu_count(), "frames_a_clip": len(frames), "rows": rows})
    for row in rows:
        for stage in SHARDS:
            figures = [row[run][stage] for run in ("all", "none", "one")]
            shown = "  ".join(f"{f['processor_seconds']:>7.1f} s {f['shards_made']:>4}" for f in figures)
            print(f"{row['clips']:>4} {stage:<15} all, none, one more: {shown}")


if __name__ == "__main__":
    main()
