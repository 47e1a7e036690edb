"""Shading of the visible surface: wrapped diffuse light, a fill, ambient occlusion in folds, a highlight."""

from dataclasses import dataclass

import numpy as np

from demo.generator.identity import Identity
from demo.generator.mesh import LOWER_TEETH, SKIN, TONGUE, UPPER_TEETH
from demo.generator.scene import Scene

TEETH_RGB, TONGUE_RGB = np.array([0.86, 0.83, 0.76]), np.array([0.66, 0.3, 0.3])
MOUTH_RGB = np.array([0.25, 0.06, 0.06])
WRAP = 0.25  # how far light reaches around the terminator
IRIS_ANGLE, PUPIL_ANGLE = 0.50, 0.20  # radians from the gaze


@dataclass
class Surface:
    """Per visible pixel (n, …): what it is made of and where it lies. Points are about the neck pivot, posed, dm."""

    group: np.ndarray
    albedo: np.ndarray
    hair: np.ndarray
    crease: np.ndarray
    normal: np.ndarray
    point: np.ndarray
    rest_depth: np.ndarray
    lips: np.ndarray
    mouth: np.ndarray
    lash: np.ndarray
    folds: np.ndarray


Eyes = dict[int, tuple[np.ndarray, float]]


def shade(
    surface: Surface, person: Identity, scene: Scene, eyes: Eyes, turn: np.ndarray, gaze: tuple[float, float]
) -> np.ndarray:
    """Colour of each pixel: (n, 3) float32 RGB in 0..1."""
    surface.normal /= np.linalg.norm(surface.normal, axis=1, keepdims=True).clip(1e-6)
    albedo = _albedo(surface, person)
    specular, gloss = np.where(surface.hair > 0.5, 0.10, 0.16).astype(np.float32), np.full(len(albedo), 18, np.float32)
    occlusion = _occlusion(surface)
    direction = turn @ np.array(
        [np.sin(gaze[0]) * np.cos(gaze[1]), np.sin(gaze[1]), np.cos(gaze[0]) * np.cos(gaze[1])], np.float32
    )
    for eye, (centre, radius) in eyes.items():
        on_eye = np.flatnonzero(surface.group == eye)
        outward = surface.point[on_eye] - centre
        outward /= np.linalg.norm(outward, axis=1, keepdims=True).clip(1e-6)
        albedo[on_eye] = _eye_colour(outward @ direction, person.iris)
        surface.normal[on_eye] = outward
        specular[on_eye], gloss[on_eye] = 0.9, 90
        occlusion[on_eye] *= 1 - 0.35 * ((surface.point[on_eye, 1] - centre[1]) / (0.9 * radius)).clip(0, 1)
    return _light(albedo, surface.normal, occlusion, specular, gloss, scene).astype(np.float32)


def _albedo(surface: Surface, person: Identity) -> np.ndarray:
    lips, mouth = 0.9 * surface.lips[:, None], surface.mouth[:, None]
    albedo = surface.albedo * (1 - lips) + person.lip.astype(np.float32) * lips
    albedo = albedo * (1 - mouth) + MOUTH_RGB.astype(np.float32) * mouth
    albedo = albedo * (1 - 0.62 * surface.lash - surface.crease)[:, None].clip(0)
    albedo[(surface.group == UPPER_TEETH) | (surface.group == LOWER_TEETH)] = TEETH_RGB
    albedo[surface.group == TONGUE] = TONGUE_RGB
    return albedo.astype(np.float32)


def _occlusion(surface: Surface) -> np.ndarray:
    """Darker in folds of the skin and, behind the lips, the deeper the darker."""
    skin = surface.group == SKIN
    open_air = 1 - (1.6 * surface.folds).clip(0, 0.45) * skin
    inner = (surface.group >= UPPER_TEETH) & (surface.group <= TONGUE)
    depth = (0.95 + 1.6 * (surface.rest_depth - 0.2)).clip(0.4, 0.95)
    return (open_air * np.where(inner, depth, 1) * np.where(surface.mouth > 0.5, 0.35, 1)).astype(np.float32)


def _eye_colour(cosine: np.ndarray, iris: np.ndarray) -> np.ndarray:
    angle = np.arccos(cosine.clip(-1, 1))
    in_iris = ((IRIS_ANGLE - angle) / 0.05).clip(0, 1)[:, None]
    in_pupil = ((PUPIL_ANGLE - angle) / 0.04).clip(0, 1)[:, None]
    limbus = (1 - 0.5 * ((angle - 0.36) / 0.12).clip(0, 1))[:, None]
    white = np.array([0.88, 0.86, 0.84])
    colour = white * (1 - in_iris) + in_iris * iris * limbus
    return (colour * (1 - in_pupil) + 0.03 * in_pupil).astype(np.float32)


def _light(
    albedo: np.ndarray,
    normal: np.ndarray,
    occlusion: np.ndarray,
    specular: np.ndarray,
    gloss: np.ndarray,
    scene: Scene,
) -> np.ndarray:
    key = ((normal @ scene.key + WRAP) / (1 + WRAP)).clip(0, 1)
    fill = (normal @ scene.fill).clip(0, 1)
    ambient = scene.ambient + 0.10 * normal[:, 1]
    half = scene.key + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    shine = 0.6 * specular * (normal @ half).clip(0, 1) ** gloss * (key > 0) * occlusion
    colour = (0.78 * scene.key_colour).astype(np.float32)
    light = key[:, None] * colour + (0.18 * fill + ambient)[:, None]
    return (albedo * light * occlusion[:, None] + shine[:, None]).clip(0, 1)
