"""Where and how a face is filmed: light, background, camera and sensor, in two styles.

"synthetic" is a clean render: soft even light, plain background, no noise. "real" is a consumer camera: hard coloured
light, cluttered background, blur, noise, compression, things in front of the face, and weaker, less even expressions.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

Style = Literal["synthetic", "real"]


@dataclass(frozen=True)
class Scene:
    """Fixed for a clip. Directions are unit vectors in head space at pose 0; sizes in pixels of the output."""

    style: Style
    size: tuple[int, int]  # height, width
    key: np.ndarray
    key_colour: np.ndarray
    fill: np.ndarray
    ambient: float
    exposure: float
    white: np.ndarray  # white balance
    distance: float  # camera to face, dm
    face: float  # height of the face (2.1 dm) over the frame's height
    shift: tuple[float, float]  # the face's offset from the middle, fraction of the frame's height
    background: np.ndarray  # (height, width, 3) float32 RGB
    blur: float  # sigma, pixels
    noise: float  # sensor noise, deviation at mid grey
    jpeg: int  # quality of the camera's own compression; 0 = none
    gain: float  # on all movements
    crease: float  # on the depth of wrinkles: rendered skin is too smooth
    hand: tuple[float, float, float] | None  # something in front: side, height, radius in face units


def sample_scene(rng: np.random.Generator, style: Style, size: tuple[int, int], face: tuple[float, float]) -> Scene:
    """Draw a scene; `face` is the range of the face's height over the frame's height."""
    real = style == "real"
    spread = 1.2 if real else 0.2
    key = _unit(np.array([rng.normal(0, spread), rng.uniform(0.1, 1.0), rng.uniform(0.6, 1.4) if real else 1.2]))
    fill = _unit(np.array([-key[0], rng.uniform(-0.1, 0.4), 0.8]))
    tint = rng.normal(0, 0.05 if real else 0.01, 3)
    return Scene(
        style=style,
        size=size,
        key=key,
        key_colour=rng.uniform(0.75, 1.1) * (1 + tint),
        fill=fill,
        ambient=rng.uniform(0.08, 0.26) if real else 0.36,
        exposure=rng.uniform(0.55, 1.3) if real else rng.uniform(0.95, 1.05),
        white=1 + rng.normal(0, 0.03 if real else 0.0, 3),
        distance=rng.uniform(9, 16),
        face=rng.uniform(*face),
        shift=(rng.normal(0, 0.03), rng.normal(0, 0.02)),
        background=_background(rng, style, size),
        blur=rng.uniform(0.4, 1.1) if real and rng.random() < 0.5 else 0.0,
        noise=rng.uniform(0.008, 0.035) if real else 0.0,
        jpeg=int(rng.integers(30, 80)) if real else 0,
        gain=rng.uniform(0.7, 1.0) if real else 1.15,
        crease=1.0 if real else 0.5,
        hand=_hand(rng) if real and rng.random() < 0.25 else None,
    )


def _hand(rng: np.random.Generator) -> tuple[float, float, float]:
    return (
        float(rng.choice([-1, 1]) * rng.uniform(0.45, 0.6)),
        float(rng.uniform(-0.9, -0.2)),
        float(rng.uniform(0.2, 0.3)),
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _background(rng: np.random.Generator, style: Style, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    if style == "synthetic":
        top, bottom = rng.uniform(0.35, 0.8, 3), rng.uniform(0.35, 0.8, 3)
        ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
        return np.broadcast_to(top * (1 - ramp) + bottom * ramp, (height, width, 3)).astype(np.float32)
    image = rng.uniform(0.1, 0.85) + rng.normal(0, 0.06, 3) + np.zeros((height, width, 3))
    for cell, amplitude in ((2, 0.15), (4, 0.1), (10, 0.05)):
        shape = (cell, cell * width // height + 1)
        coarse = 0.8 * rng.standard_normal((*shape, 1)) + 0.25 * rng.standard_normal((*shape, 3))
        image += amplitude * cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(rng.integers(0, 4))):  # furniture: plain boxes behind the head
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        w, h = int(rng.integers(width // 8, width // 2)), int(rng.integers(height // 8, height // 2))
        image[y : y + h, x : x + w] = image[y : y + h, x : x + w] * 0.5 + 0.5 * (
            rng.uniform(0, 1) + rng.normal(0, 0.08, 3)
        )
    return image.clip(0, 1).astype(np.float32)


def develop(image: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The camera: float RGB → BGR uint8 (height, width, 3), with the style's blur, noise and compression."""
    image = (image * (scene.exposure * scene.white).astype(np.float32)).clip(0, 1) ** np.float32(1 / 1.12)
    if scene.blur:
        image = cv2.GaussianBlur(image, (0, 0), scene.blur)
    if scene.noise:
        image = image + scene.noise * rng.standard_normal(image.shape, np.float32)
    bgr = np.ascontiguousarray((image.clip(0, 1)[..., ::-1] * 255 + 0.5).astype(np.uint8))
    if scene.jpeg:
        coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, scene.jpeg])[1]
        bgr = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return bgr
