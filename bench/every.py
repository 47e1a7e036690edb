"""What `detect_align.every` saves and what it costs: the stage's own function, against itself at `every: 1`.

Each video goes through `pipeline.faces.extract.extract` in this process, from decoding to the written shard. Told are
the processor's milliseconds a frame, the networks' share of them, and, against the faces of `every: 1`: frames that
have lost their face or gained one, the overlap of the boxes, how far the landmarks lie apart, and how much they
tremble (the second difference in time, over the square root of six: of white noise, its deviation), both in pixels of
the crop.

usage: python -m bench.every [--demo FOLDER] [--media FOLDER] [--models FOLDER] [--nth 4]
"""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow.parquet as pq

from pipeline.core.files import write_json
from pipeline.core.suffixes import is_video
from pipeline.faces.detections import overlap
from pipeline.faces.detector import DetectAlign
from pipeline.faces.extract import extract, extract_some
from pipeline.faces.geometry import alignment
from pipeline.settings import load_params
from pipeline.tables.manifest import MediaItem

RESULT = Path("docs/benchmarks/every.json")
DEMO, SHARED = Path("data/raw/demo/videos"), Path("../shared")
EVERY = (1, 2, 3, 5, 10)


@dataclass(frozen=True)
class Run:
    """One pass over some videos: seconds of the processor, of the networks in it, and each video's rows."""

    seconds: float
    network_seconds: float
    boxes: list[np.ndarray]
    landmarks: list[np.ndarray]


@contextlib.contextmanager
def network_clock() -> Iterator[list[float]]:
    """The processor's seconds of each call of a network, as they come."""
    calls: list[float] = []
    plain = ort.InferenceSession.run

    def timed(self: ort.InferenceSession, *given: Any) -> Any:
        began = time.process_time()
        answer = plain(self, *given)
        calls.append(time.process_time() - began)
        return answer

    ort.InferenceSession.run = timed
    try:
        yield calls
    finally:
        ort.InferenceSession.run = plain


def run(videos: list[Path], params: DetectAlign) -> Run:
    items = [MediaItem("extra", v.stem, v.stem, "", 0, 0, "video", (v.name,), 0) for v in videos]
    extract_some(items[0], videos[0].parent, params, 1)  # the detector is loaded
    key = str(time.time_ns())  # nothing may be found in the work store
    with network_clock() as calls:
        began = time.process_time()
        shards = [extract([i], v.parent, params, "bench", key, "")[0] for i, v in zip(items, videos, strict=True)]
        seconds = time.process_time() - began
    tables = [pq.read_table(shard.path, columns=["box", "landmarks"]) for shard in shards]
    boxes = [np.array(table["box"].to_pylist()) for table in tables]
    landmarks = [np.array(table["landmarks"].to_pylist()).reshape(-1, 5, 2) for table in tables]
    return Run(seconds, sum(calls), boxes, landmarks)


def crop_pixels_a_pixel(landmarks: np.ndarray, side: int) -> float:
    """How large a source pixel is in the crop that these landmarks (5, 2) give."""
    return float(np.sqrt(np.linalg.det(alignment(landmarks, side)[:, :2])))


def tremble(landmarks: np.ndarray, side: int) -> list[float]:
    """Of each frame of a video (N, 5, 2) with a face in it, before and behind it."""
    middle = landmarks[1:-1]
    second = np.linalg.norm(landmarks[2:] - 2 * middle + landmarks[:-2], axis=2).mean(axis=1) / np.sqrt(6)
    there = np.isfinite(second)
    sizes = [crop_pixels_a_pixel(points, side) for points in middle[there]]
    return [value * size for value, size in zip(second[there], sizes, strict=True)]


def compare(mine: Run, whole: Run, side: int) -> dict:
    shares, shifts, trembling = [], [], []
    missed = extra = frames = 0
    for boxes, points, boxes_1, points_1 in zip(mine.boxes, mine.landmarks, whole.boxes, whole.landmarks, strict=True):
        found, found_1 = np.isfinite(boxes[:, 0]), np.isfinite(boxes_1[:, 0])
        frames += len(found)
        missed, extra = missed + int((found_1 & ~found).sum()), extra + int((found & ~found_1).sum())
        for row in np.flatnonzero(found & found_1):
            shares.append(overlap(boxes_1[row], boxes[row][None])[0])
            size = crop_pixels_a_pixel(points_1[row], side)
            shifts.append(np.linalg.norm(points[row] - points_1[row], axis=1).mean() * size)
        trembling += tremble(points, side)
    return {
        "frames": frames,
        "milliseconds_a_frame": round(1000 * mine.seconds / frames, 2),
        "network_share": round(mine.network_seconds / mine.seconds, 3),
        "of_every_1": round(mine.seconds / whole.seconds, 3),
        "faces": len(shares) + extra,
        "missed": missed,
        "extra": extra,
        "box_overlap": {"mean": round(float(np.mean(shares)), 3), "least": round(float(np.min(shares)), 3)},
        "landmark_shift": {"mean": round(float(np.mean(shifts)), 2), "95%": round(float(np.quantile(shifts, 0.95)), 2)},
        "tremble": round(float(np.mean(trembling)), 2),
    }


def measure(videos: list[Path], params: DetectAlign) -> dict[str, dict]:
    runs = {every: run(videos, params.model_copy(update={"every": every})) for every in EVERY}
    return {str(every): compare(runs[every], runs[1], params.crop_pixels) for every in EVERY}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--demo", type=Path, default=DEMO)
    parser.add_argument("--media", type=Path, default=SHARED / "media")
    parser.add_argument("--models", type=Path, default=SHARED / "models")
    parser.add_argument("--nth", type=int, default=4, help="of the demo's videos, every n-th")
    args = parser.parse_args()
    given = load_params().detect_align.model_dump()
    demo = sorted(path.resolve() for path in args.demo.glob("*/*") if is_video(path.name))[:: args.nth]
    media = sorted(path.resolve() for path in args.media.glob("*") if is_video(path.name))
    groups = {name: videos for name, videos in {"demo": demo, "media": media}.items() if videos}
    models = sorted(path.resolve() for path in args.models.glob("scrfd_2.5g*.onnx"))  # the smaller one has a fixed size
    specs = [("mtcnn", 640)] + [(f"insightface:{path}", pixels) for path in models for pixels in (640, 320)]
    table = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # the work store is below it
        for spec, pixels in specs:
            params = DetectAlign(**given | {"detector": spec, "detect_pixels": pixels})
            name = spec if spec == "mtcnn" else f"{Path(spec).name} at {pixels}"
            table[name] = {group: measure(videos, params) for group, videos in groups.items()}
            for group, rows in table[name].items():
                for every, row in rows.items():
                    print(f"{name}, {group}, every {every}: {row}", flush=True)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    write_json(RESULT, {"cores": len(os.sched_getaffinity(0)), "detectors": table})


if __name__ == "__main__":
    main()
