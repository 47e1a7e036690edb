"""From the members' predictions to the report at a million rows: time and memory, and how the time grows.

A workspace is made of random members that are right more often than chance (five of EXPR, three of AU and VA), on as
many validation rows as test rows in videos of unlike length. One fit of the ensemble is timed alone; then the stages
`ensemble` (five folds, each member alone, 1,000 draws of recordings), `submit` and `report` run as they are, each in a
process of its own. With `--before DIR`, another checkout does the same on `--compare` thousand rows in the same
workspace, and what both wrote is held side by side.

usage: python -m bench.million [--rows 62 250 1000] [--before DIR] [--compare 20]
"""

import argparse
import contextlib
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import simplejpeg
import yaml

from pipeline.abaw.tracks import EXPRESSIONS, TRACKS
from pipeline.core.errors import MienError
from pipeline.core.files import write_json
from pipeline.core.parquet import write_parquet
from pipeline.core.paths import (
    ABLATIONS,
    ENSEMBLE,
    FACES,
    FAILURES,
    LABELS,
    MANIFEST,
    REPORT,
    RUNS,
    SUBMISSIONS,
    SYSTEMS,
    TEMPLATES,
)
from pipeline.core.workstore import STORE
from pipeline.faces.extract import FACES_SCHEMA
from pipeline.run.environment import peak_memory_bytes
from pipeline.tables.scores import Tasks, write_predictions

RESULT = Path("docs/benchmarks/million.json")
ROOT = Path(__file__).resolve().parents[1]
MEMBERS = {"expr": 5, "au": 3, "va": 3}
VIDEO_ROWS = 4500  # of a video of Aff-Wild2, on average
DRAWS = 1000
TOLERANCE = 1e-12


# --- a workspace -----------------------------------------------------------------------------------------------------


def axis_of(split: str, rows: int, generator: np.random.Generator) -> pa.Table:
    """Frames of videos of unlike length, every fifth video the second person of the one before."""
    count = max(12, rows // VIDEO_ROWS)
    lengths = np.maximum(1, generator.dirichlet(np.full(count, 2.0)) * (rows - count)).astype(int)
    lengths[0] += rows - lengths.sum()
    names = [f"{n - 1}_right" if n % 5 == 4 else f"{n}_left" if n % 5 == 3 else f"{n}" for n in range(1, count + 1)]
    videos = np.repeat(names, lengths)
    frames = np.concatenate([np.arange(1, length + 1) for length in lengths])
    return pa.table(
        {
            "split": np.repeat([split], rows),
            "video": videos,
            "base_video": np.repeat([name.partition("_")[0] for name in names], lengths),
            "frame": pa.array(frames, pa.int32()),
            "ordinal": pa.array(np.arange(rows), pa.int32()),
            "image": np.char.add(np.char.add(videos, "/"), np.char.mod("%05d.jpg", frames)),
        }
    )


def truth_of(track: str, frames: np.ndarray, generator: np.random.Generator) -> Tasks:
    """Labels that change slowly; a tenth of the rows has none."""
    wave = np.sin(frames[:, None] / generator.uniform(30, 90, 12) + generator.uniform(0, 6, 12))
    lost = generator.random(len(frames)) < 0.1
    if track == "expr":
        classes = np.minimum((wave[:, :3].sum(axis=1) + 3) / 6 * 8, 7).astype(np.int8)
        return {"expression": np.where(lost, -1, classes).astype(np.int8)}
    if track == "au":
        return {"aus": np.where(lost[:, None], -1, wave > np.linspace(-0.2, 0.97, 12)).astype(np.int8)}
    return {"va": np.where(lost[:, None], -5, wave[:, :2] * 0.9).astype(np.float32)}


def answered(track: str, labels: Tasks, generator: np.random.Generator) -> Tasks:
    """A member's scores: the truth within noise of its own."""
    spread, draw = generator.uniform(0.4, 0.8), generator.normal
    if track == "expr":
        logits = np.eye(len(EXPRESSIONS))[labels["expression"].clip(0)] * 1.5
        logits += draw(0, 2 * spread, logits.shape)
        shares = np.exp(logits)
        return {"expression": shares / shares.sum(axis=1, keepdims=True)}
    if track == "au":
        return {"aus": 1 / (1 + np.exp(-(labels["aus"] * 2.0 - 1 + draw(0, 2 * spread, labels["aus"].shape))))}
    return {"va": labels["va"].clip(-1, 1) + draw(0, spread, labels["va"].shape)}  # beyond [-1, 1] now and then


def make_workspace(place: Path, rows: int) -> None:
    """All that the three stages read, of `rows` validation and `rows` test rows a track."""
    for number, (track, count) in enumerate(MEMBERS.items()):
        generator = np.random.default_rng(number)
        for split, folder in (("validation", LABELS), ("test", TEMPLATES)):
            axis = axis_of(split, rows, generator)
            labels = truth_of(track, axis["frame"].to_numpy(), generator)
            table = axis
            for task, values in labels.items() if folder is LABELS else ():
                flat = pa.array(values.reshape(-1))
                column = flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
                table = table.append_column(task, column)
            write_parquet(place / folder / f"{track}.parquet", table)
            for member in range(count):
                found = generator.random(rows) > 0.02
                path = place / SYSTEMS / track / f"m{member}" / f"{split}.parquet"
                write_predictions(path, axis, answered(track, labels, generator), found)
        commas = "," * len(TRACKS[track].header.split(",")[1:])
        lines = "".join(f"{image}{commas}\n" for image in axis["image"].to_pylist())
        (place / TEMPLATES / f"{track}.txt").write_text(f"{TRACKS[track].header}\n{lines}", newline="")
    write_json(place / MANIFEST / "card.json", {"tracks": {}, "sources": {}})
    _faces(place)
    write_parquet(place / FAILURES, pa.table({"video": pa.array([], pa.string())}))
    write_params(place)


def write_params(place: Path) -> None:
    """The shipped params with these members and as many draws."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    members = {track: [f"m{number}" for number in range(count)] for track, count in MEMBERS.items()}
    tree["ensemble"] |= {"members": members, "bootstrap_draws": DRAWS}
    tree["graph"] |= {"tracks": list(MEMBERS), "trainings": {}, "shown": ["artifacts/faces"] * 2}
    (place / "params.yaml").write_text(yaml.safe_dump(tree))
    for name in (Path("dvc.yaml"), ABLATIONS):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name)


def _faces(place: Path) -> None:
    """One face, which the report shows."""
    jpeg = simplejpeg.encode_jpeg(np.full((112, 112, 3), 128, np.uint8))
    key = {"video": ["1"], "frame": [1], "image": ["00001.jpg"], "found": [True], "score": [1.0], "jpeg": [jpeg]}
    numbers = {"box": [[0.0] * 4], "landmarks": [[0.0] * 10]}
    path = place / FACES / TRACKS["expr"].dataset / "1.parquet"
    write_parquet(path, pa.table(key | numbers, schema=FACES_SCHEMA))


# --- measured --------------------------------------------------------------------------------------------------------


def fit_alone(track: str) -> None:
    """One fit of the track's ensemble in the workspace that is the working directory; prints seconds and peak."""
    # the other checkout's own, where this file runs on it
    from pipeline.core.params import read_section
    from pipeline.ensemble.fit import Ensemble, Timeline, fit_track
    from pipeline.ensemble.members import read_members, validation_labels

    settings = read_section("ensemble", Ensemble)
    table, members, _ = read_members(track, settings.trainings_of(track), "validation")
    timeline, labels = Timeline.of(table, track), validation_labels(track)
    began, busy = time.perf_counter(), time.process_time()
    fit_track(track, timeline, members, labels, settings)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    print(
        json.dumps({"seconds": round(seconds, 2), "cpu_seconds": round(busy, 2), "peak_mb": peak_memory_bytes() >> 20})
    )


def python(place: Path, code: Path, *arguments: str) -> tuple[str, float]:
    """What a Python process says that runs in the workspace with the code of a checkout, and its processor's seconds.

    It finds no server to log to. One thread, so that a busy machine does not count as work.
    """
    environment = os.environ | {"PYTHONPATH": str(code), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run([sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        raise MienError(f"{' '.join(arguments)} ended with {run.returncode}: {run.stderr[-2000:]}")
    return run.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def staged(place: Path, code: Path, stage: str, *key: str) -> dict[str, float]:
    """Seconds and peak memory of a stage, as its run.json has them, and its processor's seconds with its start-up."""
    _, busy = python(place, code, "-m", f"stages.{stage}", *key)
    run = json.loads((place / RUNS / "@".join((stage, *key)) / "run.json").read_text())
    peak = run["peak_memory_bytes"] >> 20
    return {"seconds": round(run["seconds"], 2), "cpu_seconds": round(busy, 2), "peak_mb": peak}


def measure(place: Path, code: Path) -> dict[str, Any]:
    """Everything in one workspace, with the code of one checkout."""
    found: dict[str, Any] = {}
    for track in MEMBERS:
        found[f"fit {track}"] = json.loads(python(place, code, __file__, "--fit", track)[0])
        for stage in ("ensemble", "submit"):
            found[f"{stage} {track}"] = staged(place, code, stage, track)
    found["report"] = staged(place, code, "report") | {"page_mb": round((place / REPORT).stat().st_size / 1e6, 2)}
    return found


def results(place: Path) -> dict[str, Any]:
    """What was fitted, told and submitted, by file."""
    parsed = {path: json.loads(path.read_text()) for path in sorted((place / ENSEMBLE).glob("*/*.json"))}
    files = {path: path.read_text() for path in sorted((place / SUBMISSIONS).glob("*/*"))}
    return {path.relative_to(place).as_posix(): value for path, value in (parsed | files).items()}


def furthest(one: Any, other: Any) -> float:
    """The largest difference of two trees' numbers; infinite where anything else differs."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((furthest(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(furthest, one, other), default=0.0)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other)
    return 0.0 if one == other else math.inf


def compared(rows: int, before: Path) -> dict[str, Any]:
    """Both checkouts on the same rows, in turn."""
    with workspace(rows) as place:
        sides = {}
        for name, code in (("after", ROOT), ("before", before)):
            sides[name] = measure(place, code), results(place)
        ours, theirs = sides["after"][1], sides["before"][1]
        apart = {name: furthest(ours[name], theirs[name]) for name in ours}
        assert ours.keys() == theirs.keys() and max(apart.values()) <= TOLERANCE, apart
    ratio = {
        step: round(sides["before"][0][step]["cpu_seconds"] / one["cpu_seconds"], 1)
        for step, one in sides["after"][0].items()
    }
    return {
        "rows": rows,
        "before": sides["before"][0],
        "after": sides["after"][0],
        "times_faster": ratio,
        "largest_difference_of_a_number": max(apart.values()),
        "files_with_the_same_numbers": sum(value == 0 for value in apart.values()),
        "files": len(apart),
    }


def growth(sizes: list[dict[str, Any]]) -> dict[str, float | None]:
    """The exponent of each step's processor time: 1 where it grows as its rows do; None where that is too short."""
    from bench.growth import exponent  # which another checkout may lack, where it runs this file

    rows = [size["rows"] for size in sizes]
    return {step: exponent(rows, [size["steps"][step]["cpu_seconds"] for size in sizes]) for step in sizes[-1]["steps"]}


@contextlib.contextmanager
def workspace(rows: int) -> Iterator[Path]:
    """A workspace in a folder that is thrown away."""
    STORE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=STORE, prefix="bench-million-") as folder:
        place = Path(folder).resolve()
        make_workspace(place, rows)
        yield place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[62, 250, 1000], metavar="THOUSANDS")
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    parser.add_argument("--compare", type=int, default=20, metavar="THOUSANDS", help="the rows of that comparison")
    parser.add_argument("--fit", choices=MEMBERS, help=argparse.SUPPRESS)  # what a process of its own is told
    arguments = parser.parse_args()
    if arguments.fit:
        fit_alone(arguments.fit)
        return
    told = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    told |= {"members": MEMBERS, "draws": DRAWS, "cores": os.cpu_count()}
    if arguments.before:
        told["compared"] = compared(arguments.compare * 1000, arguments.before.resolve())
        print(json.dumps(told["compared"], indent=1), flush=True)
        write_json(RESULT, told)
    sizes = {size["rows"]: size for size in told.get("sizes", [])}  # those that are not asked for stay as they are
    for rows in (thousands * 1000 for thousands in sorted(arguments.rows)):
        with workspace(rows) as place:
            sizes[rows] = {"rows": rows, "steps": measure(place, ROOT)}
        print(json.dumps(sizes[rows], indent=1), flush=True)
        told["sizes"] = [sizes[each] for each in sorted(sizes)]
        write_json(RESULT, told | {"exponents": growth(told["sizes"])})


if __name__ == "__main__":
    main()
