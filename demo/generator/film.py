"""Filming one item: what a worker process does. Every function writes the item's files and returns their truth."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from insightface.utils.face_align import estimate_norm

from demo.generator.clips import Instant, still, unfold
from demo.generator.params import Params
from demo.generator.plan import Person, Recording, Sitting, rng_of
from demo.generator.render import Actor, Studio
from demo.generator.scene import Scene, Style, develop, sample_scene
from pipeline.core.errors import MienError

CROP_PIXELS = 112
STAGE_PIXELS = 160  # frames from which aligned crops are cut
JPEG_QUALITY = 92
VIDEO_FACE, CROP_FACE, POOL_FACE = (0.6, 0.68), (0.66, 0.72), (0.5, 0.66)  # ranges of `Scene.face`
ABSENT_FRAMES = 10
FRONTAL = 0.4  # rendered people look into the camera


@dataclass(frozen=True)
class Truth:
    """One rendered face or empty frame. `frame` is 1-based in videos and sequences, 0 for stills."""

    part: str  # videos, mtl, lsd or unlabelled
    name: str  # the annotated video, or the image's file
    split: str
    frame: int
    style: Style
    identity: str
    instant: Instant
    landmarks: np.ndarray | None  # (5, 2) pixels of the frame, or of the crop for aligned images; None: no face


def film_recording(studio: Studio, params: Params, recording: Recording, out: Path) -> list[Truth]:
    """Encode a raw video with one face, or two side by side."""
    videos = params.videos
    size = (videos.height_pixels, videos.width_pixels)
    rng = rng_of(params.seed, "recording", recording.number)
    absent = _absent(rng, videos.frames) if recording.absent else range(0)
    tracks = [_film_person(studio, params, person, size, absent) for person in recording.people]
    path = out / "videos" / recording.file
    path.parent.mkdir(parents=True, exist_ok=True)
    code = "mp4v" if path.suffix == ".mp4" else "MJPG"
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*code), videos.frames_per_second, (size[1] * len(tracks), size[0])
    )
    if not writer.isOpened():
        raise MienError(f"OpenCV cannot encode {code} videos here; install the wheel opencv-python with its FFmpeg")
    for images in zip(*(frames for frames, _ in tracks), strict=True):
        writer.write(np.hstack(images))
    writer.release()
    return [truth for _, truths in tracks for truth in truths]


def _absent(rng: np.random.Generator, frames: int) -> range:
    start = int(rng.integers(frames // 4, frames - ABSENT_FRAMES - 2))
    return range(start, start + ABSENT_FRAMES)


def _film_person(
    studio: Studio, params: Params, person: Person, size: tuple[int, int], absent: range
) -> tuple[list[np.ndarray], list[Truth]]:
    rng = rng_of(params.seed, f"person-{person.name}", 0)
    actor, scene = studio.actor(rng), sample_scene(rng, "real", size, VIDEO_FACE)
    frames, truths = [], []
    for t, instant in enumerate(unfold(rng, list(person.kinds), params.videos.frames)):
        image, landmarks = _shoot(studio, actor, scene, instant, rng, t not in absent)
        frames.append(image)
        truths.append(Truth("videos", person.name, person.split, t + 1, "real", person.name, instant, landmarks))
    return frames, truths


def _shoot(
    studio: Studio, actor: Actor, scene: Scene, instant: Instant, rng: np.random.Generator, face: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    if face:
        return studio.render(actor, scene, instant.moment, rng)
    return develop(scene.background, scene, rng), None


def film_sequence(studio: Studio, params: Params, person: Person, out: Path) -> list[Truth]:
    """Sampled, aligned crops of one MTL sequence, named by their frame number."""
    rng = rng_of(params.seed, f"mtl-{person.name}", 0)
    actor, scene = studio.actor(rng), sample_scene(rng, "real", (STAGE_PIXELS, STAGE_PIXELS), CROP_FACE)
    base = "mtl_s-aff-wild2/mtl_test_data" if person.split == "test" else "mtl_s-aff-wild2"
    folder = out / base / "cropped_aligned" / person.name
    folder.mkdir(parents=True)
    truths = []
    step = params.mtl.step_frames
    instants = unfold(rng, list(person.kinds), params.mtl.frames * step)
    for t in range(int(rng.integers(0, step)), len(instants), step):
        crop, landmarks = align(*studio.render(actor, scene, instants[t].moment, rng))
        _write_jpeg(folder / f"{t + 1:05d}.jpg", crop)
        truths.append(Truth("mtl", person.name, person.split, t + 1, "real", person.name, instants[t], landmarks))
    return truths


def film_sitting(studio: Studio, params: Params, sitting: Sitting, out: Path) -> list[Truth]:
    """Stills of one identity: aligned crops for LSD, whole frames for the unlabelled pool."""
    part, folder = ("lsd", "lsd_abaw4") if sitting.aligned else ("unlabelled", "unlabelled")
    rng = rng_of(params.seed, part, sitting.number)
    side = STAGE_PIXELS if sitting.aligned else params.unlabelled.pixels
    actor = studio.actor(rng)
    truths = []
    for image in sitting.stills:
        scene = sample_scene(rng, sitting.style, (side, side), CROP_FACE if sitting.aligned else POOL_FACE)
        instant = still(rng, image.kind, FRONTAL if sitting.style == "synthetic" else 1.0)
        pixels, landmarks = _shoot(studio, actor, scene, instant, rng, image.face)
        if sitting.aligned and landmarks is not None:
            pixels, landmarks = align(pixels, landmarks)
        path = out / folder / image.file
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_jpeg(path, pixels)
        split = "test" if "test" in image.file else "validation" if "validation" in image.file else "train"
        identity = f"{part}-{sitting.number}"
        truths.append(Truth(part, image.file, split, 0, sitting.style, identity, instant, landmarks))
    return truths


def align(image: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The five-point crop of insightface's `norm_crop`, and the landmarks in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        matrix = estimate_norm(landmarks.astype(np.float32), CROP_PIXELS)
    crop = cv2.warpAffine(image, matrix, (CROP_PIXELS, CROP_PIXELS), borderValue=0.0)
    return crop, (landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
