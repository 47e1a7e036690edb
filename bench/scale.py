"""Every stage on releases of more and more videos: time, memory, files and bytes, and how each grows.

A release of ten short videos (and sequences, pictures and a pool in proportion) is rendered once and
multiplied by copies with bytes of their own; every stage then runs on it in a process of its own, at miniature network
and training sizes, so that what grows is the reading, finding, joining and writing. Told are the exponent of each
stage's processor time with its start-up taken off, and what the official 594 videos of 2,942,996 frames would take at
that rate. An exponent above 1.15 is a fault.

A made-up frame has 192 x 160 pixels, and a training takes six steps whatever the data: what a real run's detection and
training take, `mien plan` tells.

usage: python -m bench.scale [--videos 10 40 160 640]
"""

import argparse
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import yaml
from matplotlib.ticker import NullFormatter, ScalarFormatter

from bench.growth import at_size, exponent
from bench.multiply import multiply
from pipeline.abaw.tracks import TRACKS
from pipeline.core.definition import stage_outs
from pipeline.core.errors import MienError
from pipeline.core.files import write_json
from pipeline.core.parquet import read_shards
from pipeline.core.paths import ABLATIONS, FACES
from pipeline.core.workstore import STORE
from pipeline.run.dag import run_dvc, stage_order

RESULT, PICTURE = Path("docs/benchmarks/scale.json"), Path("docs/benchmarks/scale.png")
ROOT = Path(__file__).resolve().parents[1]
BASE_VIDEOS, OFFICIAL_VIDEOS, OFFICIAL_FRAMES = 10, 594, 2_942_996
TOO_FAST = 1.15  # an exponent above it is a fault
DEMO = {
    "videos": {"train": 6, "validation": 2, "test": 2, "frames": 24},
    "mtl": {"train": 4, "validation": 2, "test": 2, "frames": 6},
    "lsd": {"train_per_class": 4, "validation_per_class": 3, "test": 12},
    "unlabelled": {"images": 40, "without_face": 2},
}
OPTIMISE = {"batch": 8, "steps": 6, "passes": 0, "warmup_steps": 1}
TRAIN = {"evaluate_every_steps": 3, "optimise": OPTIMISE}
GRID = {"readout_grid": 2}
FACE = GRID | {"name": "face_resnet", "image_pixels": 32, "channels": [8, 16], "units": [1, 1]}
PAIR = {"ramp_steps": 3, "head_start_steps": 2, "labelled_steps": 1}
TEMPORAL = {"window_frames": 8, "stride_frames": 4, "width": 16, "layers": 1, "heads": 2, "feedforward": 32}
MINIATURE: dict[str, Any] = {
    "detect_align": {"max_failed_fraction": 0.2},
    "vit": {"image_pixels": 32, "width": 32, "depth": 2, "heads": 2},
    "pretrain_mae": {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2, "optimise": OPTIMISE},
    "pseudo_label": {"confidence": 0.51},
    "systems": {
        "vit": {"backbone": GRID | {"name": "encoder"}, "train": TRAIN},
        "feedback": {"spatial": PAIR | {"backbone": FACE, "train": TRAIN}, "temporal": TEMPORAL | {"train": TRAIN}},
        "temporal": TEMPORAL | {"tcn_layers": 1, "train": TRAIN},
        "dtm": {"backbone": FACE, "epoch_steps": 2, "supervised_steps": 2, "unlabelled_batch": 8, "train": TRAIN},
    },
}
FEATURES, TRAININGS = ("mae", "feedback", "vit-expr"), ("vit-expr", "dtm-expr", "temporal-expr")
MEMBERS = {"expr": ["feedback", "dtm", "vit", "temporal"]}


# --- a workspace -----------------------------------------------------------------------------------------------------


def merge(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A tree with some of its values changed."""
    return tree | {k: merge(tree[k], v) if isinstance(v, dict) and k in tree else v for k, v in changes.items()}


def params() -> dict[str, Any]:
    """The shipped params at miniature sizes; one track, so that every kind of stage runs once or a few times."""
    tree = merge(yaml.safe_load((ROOT / "params.yaml").read_text()), MINIATURE)
    tree["graph"] |= {
        "tracks": list(MEMBERS),
        "features": {name: tree["graph"]["features"][name] for name in FEATURES},
        "trainings": {name: tree["graph"]["trainings"][name] for name in TRAININGS},
    }
    tree["cache_features"]["backbones"] = {
        name: tree["cache_features"]["backbones"][name] | (GRID if name != "feedback" else {}) for name in FEATURES
    }
    tree["ensemble"]["members"] = MEMBERS
    return tree


def render(place: Path) -> Path:
    """The release of ten videos, by the demo's generator."""
    shipped = yaml.safe_load((ROOT / "demo/params.yaml").read_text())
    (place / "demo").mkdir(parents=True)
    (place / "demo/params.yaml").write_text(yaml.safe_dump(merge(shipped, DEMO)))
    python(place, "-m", "demo.generator.synthesize")
    return place / "data/raw/demo"


def prepare(place: Path, release: Path, copies: int) -> None:
    """A workspace with a release `copies` times as large."""
    multiply(release, place / "data/raw/demo", copies)
    for name in ("dvc.yaml", "weights.yaml", ABLATIONS.as_posix()):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name)
    (place / "params.yaml").write_text(yaml.safe_dump(params(), sort_keys=False))
    run_dvc("init", "--no-scm", "-q", folder=place)


# --- measured --------------------------------------------------------------------------------------------------------


def python(place: Path, *arguments: str) -> dict[str, float]:
    """Run Python in a workspace with this code and no server: seconds, processor seconds, peak memory."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    environment["OMP_NUM_THREADS"] = "1"  # threads that wait for each other are no work
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=place, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise MienError(f"{' '.join(arguments)}: {said.read().decode(errors='replace')[-2000:]}")
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": used.ru_maxrss >> 10,
    }


def written(place: Path, stage: str) -> dict[str, int]:
    """Files and bytes of a stage's outputs."""
    with contextlib.chdir(place):
        outs = stage_outs(stage)
        paths = [path for out in outs for path in ([out] if out.is_file() else out.rglob("*")) if path.is_file()]
        return {"files": len(paths), "bytes": sum(path.stat().st_size for path in paths)}


def measure(place: Path) -> dict[str, Any]:
    """Every stage in order."""
    found = {}
    with contextlib.chdir(place):  # DVC names stages as they are seen from here
        order = stage_order()
    for stage in order:
        module, _, key = stage.partition("@")
        used = python(place, "-m", f"stages.{module}", *([key] if key else []))
        found[stage] = used | written(place, stage)
        print(f"{stage:32s} {json.dumps(found[stage])}", flush=True)
    return found


def frames_of(place: Path) -> int:
    """Frames of the videos in which a face was looked for."""
    return len(read_shards(place / FACES / TRACKS["expr"].dataset, ["frame"]))


# --- told ------------------------------------------------------------------------------------------------------------


def summary(sizes: list[dict[str, Any]]) -> dict[str, Any]:
    """Each stage's exponent, and its time and files at official size, by frames."""
    frames = [size["frames"] for size in sizes]
    told = {}
    for stage in sizes[-1]["stages"]:
        each = [size["stages"][stage] for size in sizes]
        busy = [one["cpu_seconds"] for one in each]
        grown = exponent(frames, busy)
        told[stage] = {
            "exponent": grown,
            "too_fast": grown is not None and grown > TOO_FAST,
            "cpu_hours_at_official_size": round(at_size(frames, busy, OFFICIAL_FRAMES) / 3600, 2),
            "files_at_official_size": round(
                at_size([size["videos"] for size in sizes], [one["files"] for one in each], OFFICIAL_VIDEOS)
            ),
        }
    return told


def draw(sizes: list[dict[str, Any]], told: dict[str, Any]) -> None:
    """Processor time and peak memory over videos, logarithmic, beside a line of slope 1.

    Stages whose growth is too small to tell are grey.
    """
    videos = [size["videos"] for size in sizes]
    figure, (times, memory) = plt.subplots(1, 2, figsize=(13, 6), sharex=True, layout="constrained")
    colours = itertools.chain(matplotlib.color_sequences["Dark2"][:7], matplotlib.color_sequences["tab10"])
    busiest = sorted(told, key=lambda stage: -sizes[-1]["stages"][stage]["cpu_seconds"])
    order = sorted(busiest, key=lambda stage: told[stage]["exponent"] is None)
    flat = [stage for stage in order if told[stage]["exponent"] is None]
    for stage in order:
        grows = stage not in flat
        style: dict[str, Any] = {"color": next(colours), "zorder": 2} if grows else {"color": "0.75", "zorder": 1}
        rest = f"{len(flat)} others: too little growth to tell" if stage in flat[:1] else None
        name = f"{stage}: {told[stage]['exponent']:.2f}" if grows else rest
        for axes, key, label in ((times, "cpu_seconds", name), (memory, "peak_mb", None)):
            axes.plot(videos, [size["stages"][stage][key] for size in sizes], marker="o", label=label, **style)
    largest = max(sizes[-1]["stages"][stage]["cpu_seconds"] for stage in told)
    times.plot(videos, [largest * v / videos[-1] for v in videos], "k--", linewidth=0.8, label="slope 1")
    times.set(xscale="log", yscale="log", xlabel="videos", ylabel="processor seconds of the stage, start-up included")
    memory.set(xscale="log", ylim=(0, None), xlabel="videos", ylabel="peak memory of the stage's largest process, MB")
    for axis in (times.yaxis, times.xaxis):
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())
    times.set_yticks([1, 2, 5, 10, 20, 50, 100])
    times.set_xticks(videos, [str(v) for v in videos])
    times.legend(fontsize=9, title="exponent, start-up taken off", frameon=False)
    figure.savefig(PICTURE, dpi=100, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, nargs="+", default=[10, 40, 160, 640])
    wanted = sorted(parser.parse_args().videos)
    if len(set(wanted)) < 2 or any(videos % BASE_VIDEOS for videos in wanted):
        parser.error(f"--videos takes two multiples of {BASE_VIDEOS} at least; an exponent needs three")
    STORE.mkdir(exist_ok=True)
    sizes: list[dict[str, Any]] = []
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=STORE, prefix="bench-scale-") as folder:
        release = render(Path(folder).resolve() / "rendered")
        for videos in wanted:
            place = Path(folder).resolve() / str(videos)
            place.mkdir()
            prepare(place, release, videos // BASE_VIDEOS)
            stages = measure(place)
            sizes.append({"videos": videos, "frames": frames_of(place), "stages": stages})
            shutil.rmtree(place)
            told = summary(sizes) if len(sizes) > 1 else {}
            write_json(RESULT, {"cores": os.cpu_count(), "sizes": sizes, "summary": told})
    draw(sizes, told)
    for stage, one in told.items():
        print(f"{stage:32s} {json.dumps(one)}")


if __name__ == "__main__":
    main()
