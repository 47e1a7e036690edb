"""From a person, a scene and a moment's expression to a frame and its five true landmarks."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from demo.generator.atlas import Atlas
from demo.generator.camera import project, rotation
from demo.generator.expressions import blend_shapes
from demo.generator.head import Head
from demo.generator.identity import Identity, sample_identity
from demo.generator.mesh import LEFT_EYE, RIGHT_EYE
from demo.generator.raster import Fragments, rasterise
from demo.generator.scene import Scene, develop
from demo.generator.shade import Surface, shade
from demo.generator.skin import paint
from demo.generator.wrinkles import wrinkle_maps

SUPERSAMPLING = 1.5
WRINKLE_DARKENING = 0.38
NECK_PIVOT = np.array([0, -0.4, -0.9], np.float32)  # from the eyes, dm


@dataclass(frozen=True)
class Moment:
    """What changes from frame to frame. Angles in degrees; the AU intensities are the rendered ones."""

    aus: dict[int, float]
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    blink: float = 0.0


@dataclass(frozen=True)
class Actor:
    """A person ready to be rendered."""

    person: Identity
    sheet: np.ndarray  # (HEIGHT, WIDTH, 4)


@dataclass
class Studio:
    """What all renderings share; one a process."""

    head: Head
    atlas: Atlas = field(init=False)
    wrinkles: dict[int, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        self.atlas = Atlas(self.head)
        self.wrinkles = {au: self.atlas.sheet(dark, 0.0) for au, dark in wrinkle_maps(self.atlas).items()}

    @classmethod
    def open(cls, packed: Path) -> "Studio":
        """The studio over a packed head."""
        return cls(Head(packed))

    def actor(self, rng: np.random.Generator) -> Actor:
        """Draw a person and paint the texture sheet."""
        person = sample_identity(self.head, rng)
        return Actor(person, paint(self.atlas, person))

    def render(
        self, actor: Actor, scene: Scene, moment: Moment, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A frame (H, W, 3) BGR uint8 and its landmarks (5, 2): eyes, nose, mouth corners, image-left first."""
        points = self._expressive(actor, scene, moment)
        normals = self.head.normals(points)
        folds = self.head.curvature(points, normals)
        turn = rotation(moment.yaw, moment.pitch, moment.roll)
        pivot = self._eye_middle(points) + NECK_PIVOT
        follow = np.clip((self.head.rest[:, 1] + 2.3) / 1.2, 0, 1)[:, None]  # the shoulders stay
        points = points - pivot
        points = follow * (points @ turn.T) + (1 - follow) * points
        normals = follow * (normals @ turn.T) + (1 - follow) * normals
        size = (round(scene.size[0] * SUPERSAMPLING), round(scene.size[1] * SUPERSAMPLING))
        screen = project(points, scene, size)
        fragments = rasterise(screen, points[:, 2], self.head.triangles, size)
        surface = self._surface(actor, fragments, points, normals, folds, scene, moment)
        image = cv2.resize(scene.background, size[::-1], interpolation=cv2.INTER_LINEAR)
        image.reshape(-1, 3)[fragments.pixel] = shade(
            surface, actor.person, scene, self._eyes(points), turn, moment.gaze
        )
        landmarks = self._landmarks(screen, points, turn, scene, size)
        _draw_props(image, actor.person, scene, landmarks)
        small = cv2.resize(image, scene.size[::-1], interpolation=cv2.INTER_AREA)
        return develop(small, scene, rng), landmarks / SUPERSAMPLING

    def _expressive(self, actor: Actor, scene: Scene, moment: Moment) -> np.ndarray:
        weights = blend_shapes(moment.aus, scene.gain, actor.person.asymmetry)
        for unit in ("eyeBlinkLeft", "eyeBlinkRight"):
            weights[unit] = min(1.0, max(weights.get(unit, 0.0), moment.blink))
        points = actor.person.points.copy()
        for unit, weight in weights.items():
            if weight:
                points += np.float32(weight) * self.head.units[unit]
        return points

    def _eye_middle(self, points: np.ndarray) -> np.ndarray:
        return np.mean([points[index].mean(0) for index in self.head.eyes.values()], 0)

    def _eyes(self, points: np.ndarray) -> dict[int, tuple[np.ndarray, float]]:
        """Eye → centre and radius, posed."""
        found = {}
        for eye, index in self.head.eyes.items():
            centre = points[index].mean(0)
            found[eye] = (centre, float(np.linalg.norm(points[index] - centre, axis=1).max()))
        return found

    def _surface(
        self,
        actor: Actor,
        fragments: Fragments,
        points: np.ndarray,
        normals: np.ndarray,
        folds: np.ndarray,
        scene: Scene,
        moment: Moment,
    ) -> Surface:
        corners = self.head.triangles[fragments.triangle]
        masks = np.stack([self.head.masks["lips"], self.head.masks["mouth"], self.head.masks["lash"], folds], 1)
        columns = np.concatenate([self.atlas.uv, normals, points, self.head.rest[:, 2:], masks], 1).astype(np.float32)
        values = np.einsum("pk,pkd->pd", fragments.weights, columns[corners])
        sheet = _read(actor.sheet, values[:, :2])
        crease = _read(self._creases(actor, scene, moment), values[:, :2])
        return Surface(
            group=self.head.triangle_group[fragments.triangle],
            albedo=sheet[:, :3],
            hair=sheet[:, 3],
            crease=crease,
            normal=values[:, 2:5],
            point=values[:, 5:8],
            rest_depth=values[:, 8],
            lips=values[:, 9].clip(0, 1),
            mouth=values[:, 10].clip(0, 1),
            lash=values[:, 11].clip(0, 1),
            folds=values[:, 12],
        )

    def _creases(self, actor: Actor, scene: Scene, moment: Moment) -> np.ndarray:
        total = np.zeros(self.wrinkles[1].shape, np.float32)
        for au, intensity in moment.aus.items():
            if au in self.wrinkles and intensity > 0.02:
                np.maximum(total, np.float32(min(intensity, 1.2)) * self.wrinkles[au], out=total)
        return total * np.float32(WRINKLE_DARKENING * actor.person.crease * scene.crease)

    def _landmarks(
        self, screen: np.ndarray, points: np.ndarray, turn: np.ndarray, scene: Scene, size: tuple[int, int]
    ) -> np.ndarray:
        forward = turn @ np.array([0, 0, 0.11], np.float32)  # the pupil lies before the eyeball's centre
        centres = np.stack([points[self.head.eyes[eye]].mean(0) + forward for eye in (RIGHT_EYE, LEFT_EYE)])
        eyes = project(centres, scene, size)
        mouth = screen[list(self.head.mouth_corners)]
        return np.concatenate([eyes, screen[[self.head.nose_tip]], mouth]).astype(np.float32)


def _read(sheet: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear samples of a sheet at (n, 2) texel coordinates; in rows, as OpenCV maps have under 2^15 a side."""
    columns = 1024
    padded = np.zeros((-(-len(uv) // columns) * columns, 2), np.float32)
    padded[: len(uv)] = uv
    grid = padded.reshape(-1, columns, 2)
    samples = cv2.remap(sheet, grid, np.empty(0, np.float32), cv2.INTER_LINEAR)
    return samples.reshape(len(padded), *sheet.shape[2:])[: len(uv)]


def _draw_props(image: np.ndarray, person: Identity, scene: Scene, landmarks: np.ndarray) -> None:
    """Glasses (in the real style) and a hand before the face, drawn into `image`."""
    across = landmarks[1] - landmarks[0]
    unit = float(np.linalg.norm(across)) / 0.64  # pixels a dm: the eyes lie 0.64 dm apart
    if person.glasses and scene.style == "real":
        angle = float(np.degrees(np.arctan2(across[1], across[0])))
        for eye in landmarks[:2]:
            axes = (0.25 * unit, 0.19 * unit)
            centre = (float(eye[0]), float(eye[1] + 0.03 * unit))
            cv2.ellipse(
                image, (centre, (2 * axes[0], 2 * axes[1]), angle), (0.08, 0.07, 0.07), max(1, round(0.03 * unit))
            )
    if scene.hand is not None:
        side, height, radius = scene.hand
        middle = landmarks[:2].mean(0) + unit * np.array([side, -height])
        colour = [float(c) for c in person.skin * 0.75]
        box = (tuple(float(m) for m in middle), (2 * radius * unit, 2.8 * radius * unit), 20.0 * side)
        cv2.ellipse(image, box, colour, -1)
