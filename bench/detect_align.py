"""Face extraction against the loop that people write with insightface, on the same file, video and detection size.

Peer: `detect` and `norm_crop`, one frame after the other, with onnxruntime's own choice of threads. Ours: the shard
function in one single-threaded process a core, as the stage runs it. Both decode, detect, align; ours also encodes
the crops and writes the shard. The boxes of both are compared in the same run.

usage: python -m bench.detect_align [--model scrfd.onnx] [--video clip.mp4] [--copies 4]
"""

import argparse
import functools
import os
import shutil
import statistics
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from insightface.model_zoo import get_model
from insightface.utils.face_align import norm_crop

from pipeline.core.files import write_json
from pipeline.faces.detector import DetectAlign
from pipeline.faces.extract import extract
from pipeline.settings import load_params
from pipeline.tables.manifest import MediaItem

warnings.simplefilter("ignore", FutureWarning)
RESULT = Path("docs/benchmarks/detect_align.json")
SHARED = Path("../shared")


def settings(model: Path) -> DetectAlign:
    given = load_params().detect_align.model_dump()
    return DetectAlign(**given | {"detector": f"insightface:{model}"})


def peer(videos: list[Path], model: Path, params: DetectAlign) -> tuple[float, np.ndarray]:
    """Frames per second and the boxes of the largest face of each frame, NaN where none."""
    detector = get_model(str(model), providers=["CPUExecutionProvider"])
    detector.prepare(
        ctx_id=-1, input_size=(params.detect_pixels, params.detect_pixels), det_thresh=params.score_threshold
    )
    boxes = []
    detector.detect(np.zeros((64, 64, 3), np.uint8))
    started = time.perf_counter()
    for video in videos:
        capture = cv2.VideoCapture(str(video))
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            found, landmarks = detector.detect(frame)
            best = max(range(len(found)), key=lambda i: np.prod(found[i, 2:4] - found[i, :2]), default=None)
            boxes.append(np.full(4, np.nan) if best is None else found[best, :4])
            if best is not None:
                norm_crop(frame, landmarks[best], params.crop_pixels)
    return len(boxes) / (time.perf_counter() - started), np.stack(boxes)


def ours(videos: list[Path], params: DetectAlign, pool: ProcessPoolExecutor) -> tuple[float, np.ndarray]:
    root = videos[0].parent
    items = [[MediaItem("extra", v.name, v.name, "", 0, 0, "video", (v.name,), 0)] for v in videos]
    # a key of its own for each run: nothing may be found in the work store
    key = str(time.time_ns())
    function = functools.partial(extract, root=root, params=params, stage="bench", code=key, weights="bench")
    started = time.perf_counter()
    shards = [shard for part in pool.map(function, items) for shard in part]
    rate = sum(shard.rows for shard in shards) / (time.perf_counter() - started)
    boxes = [np.stack(pq.read_table(s.path, columns=["box"])["box"].to_numpy(zero_copy_only=False)) for s in shards]
    return rate, np.concatenate(boxes)


def measure(model: Path, video: Path, copies: int, rounds: int) -> dict:
    params = settings(model.resolve())
    with tempfile.TemporaryDirectory() as folder:
        videos = [Path(folder) / f"{number}{video.suffix}" for number in range(copies)]
        for target in videos:
            shutil.copyfile(video, target)
        os.environ["OMP_NUM_THREADS"] = "1"
        with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn")) as pool:
            ours(videos, params, pool)  # workers start and load the detector
            rates: dict[str, list[float]] = {"peer": [], "ours": []}
            for _ in range(rounds):
                rate, theirs = peer(videos, model, params)
                rates["peer"].append(rate)
                rate, mine = ours(videos, params, pool)
                rates["ours"].append(rate)
    both = np.isfinite(theirs).all(axis=1) & np.isfinite(mine).all(axis=1)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "model": model.name,
        "video": video.name,
        "frames": len(mine),
        "cores": len(os.sched_getaffinity(0)),
        "frames_per_second": {name: round(value, 1) for name, value in medians.items()},
        "ratio": round(statistics.median(o / p for o, p in zip(rates["ours"], rates["peer"], strict=True)), 2),
        "same_frames_with_a_face": bool((np.isfinite(theirs) == np.isfinite(mine)).all()),
        "largest_box_difference_pixels": float(np.abs(theirs[both] - mine[both]).max(initial=0.0)),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, nargs="*", default=sorted((SHARED / "models").glob("scrfd*.onnx")))
    parser.add_argument("--video", type=Path, default=SHARED / "media/single_face.mp4")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if not args.model or not args.video.is_file():
        print("detect_align: skipped, no SCRFD file or video at hand; give --model and --video")
        return
    results = [measure(model, args.video, args.copies, args.rounds) for model in args.model]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    write_json(RESULT, results)
    for r in results:
        rates = r["frames_per_second"]
        print(
            f"detect_align {r['model']}: {rates['ours']} frames/s against {rates['peer']} (ratio {r['ratio']}), "
            f"largest box difference {r['largest_box_difference_pixels']} px"
        )


if __name__ == "__main__":
    main()
