"""Crops at full size: memory, reads and decodes a second, and what a training waits for, by the number of crops.

A synthetic data set is written for each size (`--crops`, in thousands; 5 KB a crop, removed afterwards), and the demo's
plain ViT is trained on it for a few steps in a process of its own. Where it is small enough, a third process holds all
crops in memory, as this pipeline did before, and reads the same rows.

usage: python -m bench.rows [--crops 100 1000]
"""

import argparse
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import simplejpeg

from bench.jobs import recipe
from pipeline.core.errors import MienError
from pipeline.core.files import write_json
from pipeline.core.parquet import CROP_ROWS, read_shards, write_parquet
from pipeline.core.paths import FACES, LABELS, TEMPLATES
from pipeline.core.workstore import STORE
from pipeline.faces.crops import Crops, decode_crops
from pipeline.faces.extract import FACES_SCHEMA
from pipeline.run.environment import peak_memory_bytes
from pipeline.run.parallel import worker_count
from pipeline.settings import Params, load_params
from pipeline.train.fit import fit, seed_weights

RESULT = Path("docs/benchmarks/rows.json")
DATASET, TRACK = "aff-wild2", "expr"
FRAMES = 5000  # of a video
HELD_MOST = 200_000  # crops that a process may hold for the comparison: 2 GB, and twice that while it filters
FREE_BYTES = 25 << 30
BATCH, BATCHES, STEPS = 256, 40, 30


# --- a data set ------------------------------------------------------------------------------------------------------


def crop_of_5_kb() -> bytes:
    """A smooth random picture of 112 pixels."""
    small = np.random.default_rng(0).integers(0, 255, (9, 9, 3)).astype(np.uint8)
    picture = cv2.resize(small, (112, 112), interpolation=cv2.INTER_CUBIC)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=95)


def write_video(root: Path, video: str, jpeg: bytes) -> None:
    """A shard of faces; every fiftieth frame shows none."""
    found = np.arange(FRAMES) % 50 != 7
    nothing = np.where(found, 0.0, np.nan).astype(np.float32)
    columns = {
        "video": pa.array([video] * FRAMES),
        "frame": np.arange(1, FRAMES + 1, dtype=np.int32),
        "image": [f"{frame:05d}.jpg" for frame in range(1, FRAMES + 1)],
        "found": found,
        "score": np.where(found, 1.0, np.nan).astype(np.float32),
        "box": pa.FixedSizeListArray.from_arrays(np.repeat(nothing, 4), 4),
        "landmarks": pa.FixedSizeListArray.from_arrays(np.repeat(nothing, 10), 10),
        "jpeg": pa.array([jpeg if face else None for face in found], pa.binary()),
    }
    write_parquet(root / FACES / DATASET / f"{video}.parquet", pa.table(columns, schema=FACES_SCHEMA), CROP_ROWS)


def write_labels(root: Path, videos: list[str]) -> None:
    """Labels of all frames, the last video for validation; a sixth of the rows has none. The test list is short."""
    rows = len(videos) * FRAMES
    names = np.repeat(videos, FRAMES)
    axis = {
        "split": np.repeat(["train"] * (len(videos) - 1) + ["validation"], FRAMES),
        "video": names,
        "base_video": names,
        "frame": np.tile(np.arange(1, FRAMES + 1, dtype=np.int32), len(videos)),
        "ordinal": np.arange(rows, dtype=np.int32),
        "image": np.char.mod("%07d.jpg", np.arange(rows)),
    }
    table = pa.table(axis | {"expression": np.random.default_rng(0).integers(-1, 8, rows).clip(-1).astype(np.int8)})
    write_parquet(root / LABELS / f"{TRACK}.parquet", table)
    write_parquet(root / TEMPLATES / f"{TRACK}.parquet", table.slice(rows - 100).drop_columns(["expression"]))


def make_data(root: Path, crops: int) -> int:
    """Write `crops` frames; returns the bytes of their shards. Refuses to fill the disk."""
    jpeg, videos = crop_of_5_kb(), [f"video{number:04d}" for number in range(max(2, crops // FRAMES))]
    root.mkdir(parents=True)
    if shutil.disk_usage(root).free - len(videos) * FRAMES * len(jpeg) < FREE_BYTES:
        raise MienError(f"{crops} crops of {len(jpeg)} bytes would leave less than 25 GiB free; give a smaller --crops")
    for video in videos:
        write_video(root, video, jpeg)
    write_labels(root, videos)
    return sum(path.stat().st_size for path in (root / FACES).rglob("*.parquet"))


# --- measured in a process of its own --------------------------------------------------------------------------------


def a_second(work: Callable[[], Any]) -> float:
    """Crops of `BATCHES` batches a second."""
    began = time.perf_counter()
    work()
    return round(BATCH * BATCHES / (time.perf_counter() - began))


def drawn(crops: int) -> list[np.ndarray]:
    """Random rows of some batches, the same for both sides."""
    return list(np.random.default_rng(1).integers(0, crops, (BATCHES, BATCH)))


def held(root: Path, pixels: int) -> dict[str, Any]:
    """As before: every JPEG in memory, filtered into a copy."""
    began = time.perf_counter()
    table = read_shards(root / FACES / DATASET, ["video", "frame", "found", "jpeg"])
    jpegs = table.filter(table["found"])["jpeg"]
    seconds = time.perf_counter() - began

    def read() -> None:
        for rows in drawn(len(jpegs)):
            decode_crops([jpegs[int(row)].as_py() for row in rows], pixels)

    rates = [a_second(read) for _ in range(2)]
    return {"open_seconds": round(seconds, 1), "rows_a_second": rates[1], "peak_mb": peak_memory_bytes() >> 20}


def by_row(root: Path, pixels: int) -> dict[str, Any]:
    """As now: each crop is read when it is asked for; the first reads find where crops lie."""
    began = time.perf_counter()
    crops = Crops(DATASET, root / FACES)
    seconds = time.perf_counter() - began
    batches = drawn(len(crops))
    some = [[crops.jpeg(int(row)) for row in rows] for rows in batches[:4]]
    rates = [a_second(lambda: [crops.images(rows, pixels) for rows in batches]) for _ in range(2)]
    decoded = a_second(lambda: [decode_crops(jpegs, pixels) for jpegs in some * (BATCHES // 4)])
    return {
        "faces": len(crops),
        "open_seconds": round(seconds, 1),
        "first_rows_a_second": rates[0],
        "rows_a_second": rates[1],
        "decoded_a_second": decoded,
        "peak_mb": peak_memory_bytes() >> 20,
    }


def trained(root: Path, params: Params) -> dict[str, Any]:
    """A training of the demo's plain ViT, judged once on one video."""
    os.chdir(root)
    train = params.systems["vit"].train  # type: ignore[attr-defined]
    optimise = train.optimise.model_copy(update={"steps": STEPS})
    train = train.model_copy(update={"optimise": optimise, "evaluate_every_steps": STEPS})
    settings = params.systems["vit"].model_copy(update={"train": train})
    params = params.model_copy(update={"systems": params.systems | {"vit": settings}})
    shares: dict[str, float] = {}
    seed_weights(params.finetune)
    began = time.perf_counter()
    made = recipe("vit", TRACK, params, pretrained=False)
    opened = time.perf_counter() - began
    began = time.perf_counter()
    fit("vit", made, params.finetune, Path("work"), lambda metrics, step: shares.update(metrics))
    seconds = time.perf_counter() - began
    wait = shares["input_wait_share"]
    return {
        "open_seconds": round(opened, 1),
        "steps_a_second": round(STEPS / (seconds * (1 - shares["judging_share"])), 2),
        "judging_share": round(shares["judging_share"], 3),
        "input_wait_share": round(wait, 3),
        "bound_by": "loader" if wait > 0.5 else "network",
        "peak_mb": peak_memory_bytes() >> 20,
    }


def alone(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The function's answer from a fresh process, whose peak is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(crops: int, root: Path) -> dict[str, Any]:
    """Everything at one size."""
    params = load_params()
    pixels = params.vit.image_pixels
    found: dict[str, Any] = {"crops": crops, "shard_bytes": make_data(root, crops)}
    if crops <= HELD_MOST:
        found["held_in_memory"] = alone(held, root, pixels)
    return found | {"read_by_row": alone(by_row, root, pixels), "training": alone(trained, root, params)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, nargs="+", default=[100, 1000], metavar="THOUSANDS")
    sizes = []
    for thousands in parser.parse_args().crops:
        root = (STORE / "bench-rows").resolve()
        shutil.rmtree(root, ignore_errors=True)
        try:
            sizes.append(measure(thousands * 1000, root))
        finally:
            shutil.rmtree(root, ignore_errors=True)
        print(json.dumps(sizes[-1], indent=1), flush=True)
    write_json(RESULT, {"threads": worker_count(), "batch": BATCH, "sizes": sizes})


if __name__ == "__main__":
    main()
