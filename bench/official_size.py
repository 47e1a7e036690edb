"""Time and peak memory at official size: template, annotations, check, validation, and an import of 100,000 crops.

    python -m bench.official_size [--images 100000] [--work DIR]

Everything is synthesised in a temporary folder. Each measurement runs in a process of its own, whose peak resident
memory is the kernel's `ru_maxrss`. Writes docs/benchmarks/official_size.json.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from pipeline.abaw.check.check import check_file
from pipeline.abaw.gaps import fill_scores, smooth
from pipeline.abaw.readers import read_template, scan_annotation
from pipeline.abaw.tracks import AUS, EXPRESSIONS, TRACKS
from pipeline.abaw.writer import submission_bytes
from pipeline.core.files import write_json
from pipeline.release.discover import find_release
from pipeline.release.importer import import_release
from pipeline.validate.validate import validate_release

OUT = Path("docs/benchmarks/official_size.json")
TEMPLATE_ROWS, TEMPLATE_VIDEOS = 1_022_655, 228
VIDEOS, FRAMES = 594, 2_942_996
CROP_FOLDERS = 100


def measured(work: Callable[[], Any]) -> dict[str, Any]:
    """Run `work` in a fresh process; its result, seconds, and peak memory in MB."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_child, args=(sender, work))
    process.start()
    try:
        answer = receiver.recv()
    except EOFError:
        answer = {"error": "the process died"}
    process.join()
    return answer


def _child(sender: Any, work: Callable[[], Any]) -> None:
    started = time.perf_counter()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sender.send({"seconds": round(time.perf_counter() - started, 2), "peak_mb": round(peak), "result": result})
    sender.close()


def video_names(count: int, generator: np.random.Generator) -> list[str]:
    return [f"{i}-{generator.integers(10, 60)}-1280x720" if i % 3 else f"{i}" for i in range(1, count + 1)]


def lengths(total: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """Frames of each video, adding up to `total`."""
    sizes = np.maximum(73, generator.dirichlet(np.ones(count)) * total).astype(int)
    sizes[0] += total - sizes.sum()
    return np.maximum(sizes, 1)


def make_template(path: Path, generator: np.random.Generator) -> None:
    names = video_names(TEMPLATE_VIDEOS, generator)
    with open(path, "w", newline="") as file:
        file.write(TRACKS["expr"].header + "\n")
        for name, frames in zip(names, lengths(TEMPLATE_ROWS, TEMPLATE_VIDEOS, generator), strict=True):
            file.writelines(f"{name}/{frame:05d}.jpg,\n" for frame in range(1, frames + 1))


def make_annotations(root: Path, generator: np.random.Generator) -> None:
    """594 videos, each with EXPR, AU and VA files: all frames of the data base in all three tracks."""
    names = video_names(VIDEOS, generator)
    for number, (name, frames) in enumerate(zip(names, lengths(FRAMES, VIDEOS, generator), strict=True)):
        split = "Validation_Set" if number % 6 == 0 else "Train_Set"
        expressions = generator.integers(-1, len(EXPRESSIONS), frames)
        units = generator.integers(0, 2, (frames, len(AUS)))
        values = np.where(generator.random((frames, 1)) < 0.1, -5, generator.uniform(-1, 1, (frames, 2)))
        for track, rows, form in (("EXPR", expressions, "%d"), ("AU", units, "%d"), ("VA", values, "%.3f")):
            path = root / f"{track}_Recognition_Challenge" / split / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            header = TRACKS[track.lower()].video_header or ""
            np.savetxt(path, rows, fmt=form, delimiter=",", header=header, comments="")


def make_crops(root: Path, images: int, generator: np.random.Generator) -> None:
    """`images` different 112x112 JPEGs of 10 KB in 100 folders."""
    pixels = generator.integers(0, 255, (112, 112, 3), dtype=np.uint8)
    smooth_pixels = (pixels // 3 + np.linspace(0, 160, 112, dtype=np.uint8)[:, None, None]).astype(np.uint8)
    base = simplejpeg.encode_jpeg(np.ascontiguousarray(smooth_pixels), quality=80)
    for folder in range(CROP_FOLDERS):
        place = root / "cropped_aligned" / f"{folder + 1}"
        place.mkdir(parents=True)
        for frame in range(images // CROP_FOLDERS):
            comment = b"\xff\xfe\x00\x0a%08d" % (folder * 1_000_000 + frame)
            (place / f"{frame + 1:05d}.jpg").write_bytes(base[:2] + comment + base[2:])


def plain_copy(source: Path, target: Path) -> int:
    """Plain copying, file by file."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    os.sync()
    return sum(1 for path in target.rglob("*") if path.is_file())


def dvc_add(place: Path, target: Path) -> float:
    """Seconds of `dvc add` in a repository of its own."""
    command = [sys.executable, "-m", "dvc"]
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(place / ".site")}
    if not (place / ".dvc").exists():
        subprocess.run([*command, "init", "--no-scm", "-q"], cwd=place, check=True, env=environment)
    started = time.perf_counter()
    subprocess.run([*command, "add", "-q", str(target.relative_to(place))], cwd=place, check=True, env=environment)
    return round(time.perf_counter() - started, 2)


def bench_text(work: Path) -> dict[str, Any]:
    """Reading, writing, checking and validating text at official size."""
    generator = np.random.default_rng(0)
    template_path, submission = work / "EXPR_test_set_sample.txt", work / "predictions.txt"
    make_template(template_path, generator)
    make_annotations(work / "annotations", generator)
    classes = generator.integers(0, 8, TEMPLATE_ROWS)
    submission.write_bytes(submission_bytes(read_template(template_path), classes))
    broken = work / "broken.txt"
    broken.write_bytes(submission.read_bytes().replace(b"/00100.jpg", b"/00100.png"))

    def post_process() -> int:
        template = read_template(template_path)
        videos, frames = template.videos().dictionary_encode().indices.to_numpy(), template.frames()
        scores, present = generator.random((TEMPLATE_ROWS, 8)), generator.random(TEMPLATE_ROWS) > 0.015
        filled = fill_scores(videos, frames, scores, present)
        return int(filled.mask.sum()) + len(smooth(videos, frames, filled.values, 50))

    def read_all() -> int:
        return sum(
            len(scan_annotation(path.read_bytes(), TRACKS["expr"])[0])
            for path in sorted(work.glob("annotations/EXPR*/*/*.txt"))
        )

    return {
        "template_rows": TEMPLATE_ROWS,
        "annotation_files": 3 * VIDEOS,
        "annotation_rows": 3 * FRAMES,
        "empty_process": measured(lambda: None),
        "read_template": measured(lambda: len(read_template(template_path))),
        "write_submission": measured(lambda: len(submission_bytes(read_template(template_path), classes))),
        "fill_and_smooth": measured(post_process),
        "check_conformant": measured(lambda: len(check_file(submission, template_path))),
        "check_broken": measured(lambda: len(check_file(broken, template_path))),
        "read_expr_files": measured(read_all),
        "find_release": measured(lambda: len(find_release(work / "annotations").annotations)),
        "validate": measured(lambda: len(validate_release(work / "annotations").findings)),
        "import": measured(lambda: import_release(work / "annotations", work / "pack", work / ".work").files),
        "import_again": measured(lambda: import_release(work / "annotations", work / "pack", work / ".work").made),
    }


def bench_images(work: Path, images: int) -> dict[str, Any]:
    """Import of small images against plain copying and `dvc add` of the loose folder."""
    source = work / "loose"
    make_crops(source, images, np.random.default_rng(1))
    os.sync()
    sizes = sum(path.stat().st_size for path in source.rglob("*.jpg"))
    pack, state = work / "pack", work / ".work"

    def imported() -> int:
        made = import_release(source, pack, state).made
        os.sync()
        return made

    report: dict[str, Any] = {
        "images": images,
        "bytes": sizes,
        "copy": measured(lambda: plain_copy(source, work / "copy")),
        "import": measured(imported),
        "import_again": measured(lambda: import_release(source, pack, state).made),
        "read_pack": measured(lambda: _read(pack)),
    }
    shutil.rmtree(work / "copy")
    for name in ("copy", "import"):
        report[name]["files_per_second"] = round(images / max(report[name]["seconds"], 0.01))
    report["dvc_add_pack_seconds"] = dvc_add(work, pack)
    report["dvc_add_loose_seconds"] = dvc_add(work, source)
    return report


def _read(pack: Path) -> int:
    release = find_release(pack)
    return sum(1 for video in release.crops for _ in release.images(video))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--work", type=Path, default=None, help="where to make the data (a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        place = Path(folder)
        (place / "text").mkdir()
        (place / "images").mkdir()
        report = {
            "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
            "text": bench_text(place / "text"),
            "images": bench_images(place / "images", args.images),
        }
    write_json(OUT, report)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
