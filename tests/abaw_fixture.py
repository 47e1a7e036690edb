"""A small release in the official layouts, made on the spot; and where the hand-typed samples lie, if they do."""

from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from pipeline.abaw.tracks import TRACKS

SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "abaw_samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample files ../shared/abaw_samples are not here")

EXPR_TRAIN = "6th_ABAW_Annotations/EXPR_Recognition_Challenge/Train_Set"
AU_ROW = "0,0,1,0,0,0,0,0,0,0,1,0"
OFF = ",".join(["-1"] * 12)
VIDEO_FRAMES = {"12": 4, "12-30-640x360": 3, "45-24-1280x720_left": 3, "45-24-1280x720_right": 2, "video3_1": 5}
TEST_FRAMES = {"7-30-640x360": 3, "7": 2}


def jpeg(seed: int, size: int = 24) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)
    return simplejpeg.encode_jpeg(pixels, quality=60)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(header: str | None, *rows: str) -> str:
    return "\n".join([header or "", *rows]) + "\n"


def make_affwild2(root: Path) -> Path:
    """Annotations, crops (frame 2 of `12` has none) and templates; `video3_1` and the left half validate."""
    for track, row in (("expr", "4"), ("au", AU_ROW), ("va", "0.5,-0.25")):
        name = {"expr": "EXPR_Recognition", "au": "AU_Detection", "va": "VA_Estimation"}[track]
        for video, frames in VIDEO_FRAMES.items():
            split = "Validation_Set" if video in ("video3_1", "45-24-1280x720_left") else "Train_Set"
            text = lines(TRACKS[track].video_header, *[row] * frames)
            write(root / "6th_ABAW_Annotations" / f"{name}_Challenge" / split / f"{video}.txt", text)
        rows = [f"{video}/{i + 1:05d}.jpg," for video, frames in TEST_FRAMES.items() for i in range(frames)]
        sample = root / "test" / "prediction_files_format" / f"CVPR_6th_ABAW_{track.upper()}_test_set_sample.txt"
        write(sample, lines(TRACKS[track].header, *rows))
    write(
        root / "test/names_of_videos_in_each_test_set/Expression_Recognition_Challenge_test_set_release.txt",
        "7-30-640x360\n7\n",
    )
    for video, frames in (VIDEO_FRAMES | TEST_FRAMES).items():
        for i in range(frames):
            if (video, i) != ("12", 1):
                crops = "cropped_aligned_new_50_vids" if video == "7" else "cropped_aligned"
                write(root / crops / video / f"{i + 1:05d}.jpg", jpeg(hash_of(video) + i))
    write(root / "cropped_aligned" / "readme.txt", "a stray file beside the folders")
    return root


def hash_of(name: str) -> int:
    return sum(ord(c) * 31**i for i, c in enumerate(name)) % 10_000


def make_mtl(root: Path) -> Path:
    header = TRACKS["mtl"].header
    rows = [f"12/00001.jpg,0.5,0.25,4,{AU_ROW}", f"12/00007.jpg,-5,-5,-1,{OFF}", f"12/00001.jpg,0.5,0.25,4,{AU_ROW}"]
    write(root / "training_set_annotations.txt", lines(header, *rows))
    write(root / "validation_set_annotations.txt", lines(header, f"video3_1/00002.jpg,-5.0,-5.0,2,{AU_ROW}"))
    write(root / "MTL_Challenge_test_set_release.txt", lines(header, "7/00001.jpg", "7/00009.jpg", "7/00009.jpg"))
    for image in ("12/00001.jpg", "12/00007.jpg", "video3_1/00002.jpg"):
        write(root / "cropped_aligned" / image, jpeg(hash_of(image)))
    for image in ("7/00001.jpg", "7/00009.jpg"):
        write(root / "mtl_test_data" / "cropped_aligned" / image, jpeg(hash_of(image)))
    return root


def make_lsd(root: Path) -> Path:
    for folder in ("training_set_synthetic_images", "validation_set_real_images"):
        for i, name in enumerate(("ANGRER", "DISGUST", "FEAR", "HAPPINESS", "SADNESS", "SURPRISE")):
            write(root / folder / name / f"{i}.jpg", jpeg(i))
    for i in range(3):
        write(root / "lsd_test_data" / f"{i}.jpg", jpeg(50 + i))
    write(root / "LSD_Challenge_test_set_release.txt", lines("image,expression", "0.jpg", "1.jpg", "2.jpg"))
    return root


def make_release(root: Path) -> Path:
    make_affwild2(root / "affwild2")
    make_mtl(root / "mtl")
    make_lsd(root / "lsd_abaw4")
    write(root / "ce" / "test_set_examples" / "CER.txt", lines(TRACKS["ce"].header, "01/00001.jpg,", "01/00002.jpg,"))
    write(root / "unlabelled" / "some face.jpg", jpeg(99))
    return root
