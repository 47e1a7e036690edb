"""The detectors against each other on the same media: faces found, landmark difference, frames per second on one core.

The reference is the largest SCRFD at hand. A face counts as found by both when the boxes overlap by more than 0.4;
the landmark difference is the mean distance of the five points in units of the distance between the eyes.

usage: python -m bench.detectors [--media FOLDER] [--models FOLDER]
"""

import argparse
import time
from pathlib import Path

import numpy as np

from pipeline.core.files import write_json
from pipeline.core.pictures import decode_image
from pipeline.core.suffixes import VIDEO_SUFFIXES
from pipeline.faces.detections import Detections, overlap
from pipeline.faces.detector import DetectAlign, load_detector
from pipeline.faces.media import read_frames
from pipeline.settings import load_params

RESULT = Path("docs/benchmarks/detectors.json")
SHARED = Path("../shared")


def media_frames(folder: Path) -> dict[str, list[np.ndarray]]:
    """Frames of each video and picture, and the pictures that come with insightface and scikit-image."""
    import skimage.data
    from insightface.data import get_image

    frames = {"skimage astronaut": [skimage.data.astronaut()[..., ::-1].copy()], "insightface t1": [get_image("t1")]}
    for path in sorted(folder.glob("*")):
        video = path.suffix.lower() in VIDEO_SUFFIXES
        shown = [frame.image for frame in read_frames(path)] if video else [decode_image(path.read_bytes())]
        frames[path.name] = [image for image in shown if image is not None]
    return frames


def run(
    params: DetectAlign, frames: dict[str, list[np.ndarray]]
) -> tuple[dict[str, list[Detections]], dict[str, float]]:
    detector = load_detector(params)
    found, rates = {}, {}
    for name, images in frames.items():
        detector.detect(images[0])
        started = time.perf_counter()
        found[name] = [detector.detect(image) for image in images]
        rates[name] = len(images) / (time.perf_counter() - started)
    return found, rates


def compare(mine: list[Detections], theirs: list[Detections]) -> dict:
    distances, matched = [], 0
    for a, b in zip(mine, theirs, strict=True):
        for box, points in zip(b.boxes, b.landmarks, strict=True):
            shared = overlap(box, a.boxes) if len(a) else np.zeros(0)
            if len(shared) and shared.max() > 0.4:
                matched += 1
                eyes = np.linalg.norm(points[0] - points[1])
                distances.append(np.linalg.norm(a.landmarks[shared.argmax()] - points, axis=1).mean() / eyes)
    return {
        "faces": sum(map(len, mine)),
        "frames_with_a_face": sum(len(d) > 0 for d in mine),
        "of_the_reference": f"{matched}/{sum(map(len, theirs))}",
        "landmark_difference": round(float(np.mean(distances)), 3) if distances else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--media", type=Path, default=SHARED / "media")
    parser.add_argument("--models", type=Path, default=SHARED / "models")
    args = parser.parse_args()
    given = load_params().detect_align.model_dump()
    models = sorted(args.models.glob("scrfd*.onnx"), key=lambda path: path.stat().st_size, reverse=True)
    specs = [f"insightface:{path}" for path in models] + ["mtcnn"]
    frames = media_frames(args.media)
    runs = {Path(spec).name: run(DetectAlign(**given | {"detector": spec}), frames) for spec in specs}
    reference = next(iter(runs.values()))[0]
    table = {
        name: {
            media: {"frames": len(frames[media]), "frames_per_second": round(rates[media], 1)}
            | compare(found[media], reference[media])
            for media in frames
        }
        for name, (found, rates) in runs.items()
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    write_json(RESULT, table)
    for name, rows in table.items():
        for media, row in rows.items():
            print(f"{name:24} {media:22} {row}")


if __name__ == "__main__":
    main()
