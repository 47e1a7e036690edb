"""The skin's texture sheet: a cylinder around the head, so that a texel is a place on the average head.

Colours and wrinkles are functions of that place; they move with the mesh because its vertices carry sheet coordinates.
"""

from functools import cached_property

import numpy as np

from demo.generator.head import Head
from demo.generator.mesh import SKIN
from demo.generator.raster import rasterise

WIDTH, HEIGHT = 512, 420  # texels
TOP, BOTTOM = 1.15, -2.6  # dm above and below the eyes
AXIS_Z = -0.9  # the cylinder's axis, dm behind the eyes
NOISE_SINES, NOISE_BASES = 8, 4
# name -> spatial frequency in radians a dm, one number or one an axis
NOISES: dict[str, float | tuple[float, float, float]] = {
    "blotch": 3.0,
    "mottle": 14.0,
    "pore": 50.0,
    "beard": 40.0,
    "brow": (90.0, 25.0, 20.0),
    "strand": (70.0, 14.0, 22.0),
}


class Atlas:
    """`uv` (vertices, 2) in texels; `place` (texels, 3) the rest position of each texel that shows skin."""

    def __init__(self, head: Head) -> None:
        x, y, z = head.rest.T
        angle = np.arctan2(x, z - AXIS_Z)
        # the sine of the half angle spends more texels on the face than on the back of the head
        u = (0.5 + 0.5 * np.sin(angle / 2)) * (WIDTH - 1)
        v = (TOP - y) / (TOP - BOTTOM) * (HEIGHT - 1)
        self.uv = np.stack([u, v], 1).astype(np.float32)
        faces = head.triangles[head.triangle_group == SKIN]
        torn = np.ptp(angle[faces], axis=1) > np.pi  # the seam at the back of the head
        radius = np.hypot(x, z - AXIS_Z)
        fragments = rasterise(self.uv, radius, faces[~torn], (HEIGHT, WIDTH), cull=False)
        corners = faces[~torn][fragments.triangle]
        self.texel = fragments.pixel
        self.place = np.einsum("pk,pkd->pd", fragments.weights, head.rest[corners]).astype(np.float32)
        self.masks = {
            name: np.einsum("pk,pk->p", fragments.weights, mask[corners]).astype(np.float32)
            for name, mask in head.masks.items()
        }

    @cached_property
    def noise(self) -> dict[str, np.ndarray]:
        """Smooth noise of mean 0, deviation about 0.33: name -> (bases, texels), the same for everyone."""
        rng = np.random.default_rng(7)
        return {name: self._noise(rng, frequency) for name, frequency in NOISES.items()}

    def _noise(self, rng: np.random.Generator, frequency: float | tuple[float, float, float]) -> np.ndarray:
        layers = []
        for _ in range(NOISE_BASES):
            waves = rng.normal(0, frequency, (NOISE_SINES, 3)).astype(np.float32)
            phase = rng.uniform(0, 2 * np.pi, NOISE_SINES).astype(np.float32)
            layers.append(np.sin(self.place @ waves.T + phase).sum(1) * np.float32(0.33 / np.sqrt(NOISE_SINES / 2)))
        return np.stack(layers)

    def mixed_noise(self, name: str, weights: np.ndarray) -> np.ndarray:
        """One person's noise (texels,): the bases under a unit vector of weights (bases,)."""
        return (weights / np.linalg.norm(weights)).astype(np.float32) @ self.noise[name]

    def sheet(self, values: np.ndarray, fill: np.ndarray | float) -> np.ndarray:
        """Texel values (texels,) or (texels, channels) as an image (HEIGHT, WIDTH[, channels])."""
        image = np.empty((HEIGHT * WIDTH, *values.shape[1:]), np.float32)
        image[:] = fill
        image[self.texel] = values
        return image.reshape(HEIGHT, WIDTH, *values.shape[1:])
