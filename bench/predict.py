"""`mien predict` against the loops that people write over a video: frames a second, processor time, peak memory.

Each side runs through its own command line in a process of its own, one after the other, on the same video: a clip
looped to a minute, and its first frames alone, which tell how long a side takes to start. Sides with the same detector
stand beside each other: MTCNN against fer's, SCRFD from the same file and at the same size against insightface's.
`bench/predict_peers.py` has the loops. A peer's package is looked for in this Python and in those of `--peer-python`
(which keep TensorFlow out of this one); a peer that does not run is left out with the last line of its error.

Ours answers more: expressions, twelve action units, valence and arousal by trained ensembles, head pose, smoothing.

usage, after `make repro`: python -m bench.predict [--peer-python PYTHON ...] [--seconds 60] [--longer 600]
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import yaml

from pipeline.core.errors import MienError
from pipeline.core.files import write_json

RESULT = Path("docs/benchmarks/predict.json")
SHARED = Path("../shared")
ROOT = Path(__file__).resolve().parents[1]
FIRST_SECONDS = 0.1  # of the clip that tells the start


@dataclass(frozen=True)
class Peer:
    """A loop of `predict_peers.py`: the package that it needs, and the detector that it stands beside."""

    name: str
    package: str
    detector: str = ""


PEERS = (
    Peer("fer, Haar", "fer"),
    Peer("insightface, EfficientNet-B0", "insightface", "scrfd"),
    Peer("hsemotion-onnx", "hsemotion_onnx", "scrfd"),
    Peer("emotiefflib", "emotiefflib", "scrfd"),
    Peer("deepface", "deepface"),
    Peer("py-feat", "feat"),
    Peer("fer, MTCNN", "fer", "mtcnn"),
)


# --- the video and the project ---------------------------------------------------------------------------------------


def looped(source: Path, target: Path, seconds: float) -> None:
    """The packets of a clip again and again until the video is that long, or the clip's start where it is longer."""
    with av.open(str(target), "w") as out:
        stream, offset = None, 0
        while True:
            with av.open(str(source)) as clip:
                given = clip.streams.video[0]
                stream = stream or out.add_stream_from_template(given)
                assert given.time_base
                end = 0
                for packet in clip.demux(given):
                    if packet.dts is None or packet.pts is None:
                        continue
                    if (offset + packet.dts) * given.time_base >= seconds:
                        return
                    end = max(end, packet.pts + (packet.duration or 0))
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                    out.mux(packet)
                offset += end


def with_detector(project: Path, place: Path, detector: str) -> Path:
    """A project beside the trained one, whose faces are found by another detector."""
    place.mkdir(parents=True)
    (place / "artifacts").symlink_to((project / "artifacts").resolve())
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["detect_align"]["detector"] = detector
    (place / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for name in ("weights.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, place / name)
    return place


# --- measured --------------------------------------------------------------------------------------------------------


def run(command: list[str], folder: Path) -> tuple[dict[str, float], str]:
    """Seconds, processor seconds and peak memory of a command, and what it printed; `MienError` with its last line."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as wrong:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=wrong)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        wrong.seek(0)
        if process.returncode:
            lines = wrong.read().strip().splitlines() or [f"ended with {process.returncode}"]
            raise MienError(lines[-1][:300])
        memory = used.ru_maxrss / 1024
        return {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mb": memory}, said.read()


def ours(video: Path, project: Path, table: Path) -> dict[str, float]:
    """One run of `mien predict`."""
    command = [sys.executable, "-m", "pipeline", "predict", str(video), "--from", "workspace", "--output", str(table)]
    used, _ = run(command, project)
    with table.open() as file:
        found = [row["found"] == "true" for row in csv.DictReader(file)]
    return used | {"frames": len(found), "with_a_face": sum(found)}


def theirs(peer: Peer, python: str, video: Path, model: Path | None) -> dict[str, float]:
    """One run of a peer's loop."""
    script = str(ROOT / "bench/predict_peers.py")
    used, said = run([python, script, peer.name, str(video), *([str(model)] if model else [])], video.parent)
    return used | json.loads(said.strip().splitlines()[-1])


def told(first: dict[str, float], whole: list[dict[str, float]]) -> dict[str, Any]:
    """Medians over rounds, and the rate with and without the start."""
    seconds, cpu = (statistics.median(one[key] for one in whole) for key in ("seconds", "cpu_seconds"))
    frames = int(whole[0]["frames"])
    return {
        "frames": frames,
        "with_a_face": int(whole[0]["with_a_face"]),
        "frames_per_second": round(frames / seconds, 1),
        "start_seconds": round(first["seconds"], 1),
        "frames_per_second_after_the_start": round((frames - first["frames"]) / (seconds - first["seconds"]), 1),
        "cpu_milliseconds_a_frame": round(cpu / frames * 1000, 1),
        "peak_mb": round(max(one["peak_mb"] for one in whole)),
    }


def python_of(package: str, pythons: list[str]) -> str:
    """The first Python that has a package; `MienError` where none has."""
    asked = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    for python in pythons:
        if not subprocess.run([python, "-c", asked], check=False).returncode:
            return python
    raise MienError(f"{package} is not installed")


def measure(args: argparse.Namespace, place: Path, model: Path | None) -> None:
    """Every side, and who is left out, written as it goes."""
    found: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    head = {"video": args.video.name, "seconds": args.seconds, "rounds": args.rounds}
    head["cores"] = len(os.sched_getaffinity(0))

    def keep(name: str, side: dict[str, Any]) -> None:
        found[name] = side
        write_json(RESULT, head | {"sides": found, "left_out": left_out})
        print(f"{name}: {side}", flush=True)

    first, whole, longer = (place / f"{name}.mp4" for name in ("first", "whole", "longer"))
    looped(args.video, first, FIRST_SECONDS)
    looped(args.video, whole, args.seconds)
    for name, detector in ({"mtcnn": "mtcnn"} | ({"scrfd": f"insightface:{model}"} if model else {})).items():
        project, table = with_detector(args.project, place / name, detector), place / f"{name}.csv"
        start = ours(first, project, table)
        keep(f"mien, {name}", told(start, [ours(whole, project, table) for _ in range(args.rounds)]))
        if args.longer and name == "mtcnn":
            looped(args.video, longer, args.longer)
            keep(f"mien, {name}, longer", told(start, [ours(longer, project, table)]))
    for peer in PEERS:
        try:
            if peer.detector == "scrfd" and not model:
                raise MienError("no SCRFD file at hand; give --model")
            python = python_of(peer.package, [sys.executable, *args.peer_python])
            start = theirs(peer, python, first, model)
            keep(peer.name, told(start, [theirs(peer, python, whole, model) for _ in range(args.rounds)]))
        except MienError as error:
            left_out[peer.name] = str(error)
            print(f"{peer.name}: left out, {error}", flush=True)
    write_json(RESULT, head | {"sides": found, "left_out": left_out})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=Path, default=Path(), help="a project in which `make repro` has run")
    parser.add_argument("--video", type=Path, default=SHARED / "media/single_face.mp4")
    parser.add_argument("--model", type=Path, default=SHARED / "models/scrfd_2.5g_bnkps.onnx")
    parser.add_argument("--peer-python", nargs="*", default=[], help="Pythons that have what this one has not")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--longer", type=float, default=0.0, help="seconds of a longer loop, for our peak memory")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    if not args.video.is_file():
        print("predict: skipped, no video at hand; give --video")
        return
    model = args.model.resolve() if args.model.is_file() else None
    with tempfile.TemporaryDirectory() as folder:
        measure(args, Path(folder), model)


if __name__ == "__main__":
    main()
