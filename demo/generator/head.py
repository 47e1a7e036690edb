"""The packed head in memory: targets by name, landmarks, normals and curvature."""

from functools import cached_property
from pathlib import Path

import numpy as np

from demo.generator.mesh import LEFT_EYE, RIGHT_EYE, SKIN


class Head:
    """Geometry shared by all identities. `rest` is the average head with its origin between the eyes (dm)."""

    def __init__(self, npz: Path) -> None:
        with np.load(npz, allow_pickle=False) as packed:
            self.triangles = packed["triangles"].astype(np.int64)
            self.triangle_group = packed["group"]
            self.base = packed["base"]
            self.macro = dict(zip(packed["macro_names"].tolist(), packed["macro"].astype(np.float32), strict=True))
            self.local = packed["local"].astype(np.float32)
            self.units = dict(zip(packed["unit_names"].tolist(), packed["unit"].astype(np.float32), strict=True))
            self.masks = {name: packed[f"mask_{name}"].astype(np.float32) for name in ("lips", "mouth", "ears")}
            average = packed["average"]
        self.group = np.full(len(self.base), -1)
        for index in range(6):
            self.group[self.triangles[self.triangle_group == index]] = index
        self.eyes = {eye: np.flatnonzero(self.group == eye) for eye in (LEFT_EYE, RIGHT_EYE)}
        self.skin = np.flatnonzero(self.group == SKIN)
        self.rest = (average - np.mean([average[i].mean(0) for i in self.eyes.values()], 0)).astype(np.float32)
        self.masks["lash"] = self._lash()

    @cached_property
    def edges(self) -> np.ndarray:
        """Skin edges, (edges, 2), each once."""
        faces = self.triangles[self.triangle_group == SKIN]
        pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        return np.unique(np.sort(pairs, 1), axis=0)

    @cached_property
    def degree(self) -> np.ndarray:
        """Neighbours of each vertex, at least 1."""
        return np.bincount(self.edges.ravel(), minlength=len(self.base)).clip(1).astype(np.float32)

    @cached_property
    def nose_tip(self) -> int:
        """The foremost vertex on the mid-line under the eyes."""
        x, y, _ = self.rest[self.skin].T
        middle = self.skin[(np.abs(x) < 0.03) & (y < -0.05) & (y > -0.8)]
        return int(middle[np.argmax(self.rest[middle, 2])])

    @cached_property
    def mouth_corners(self) -> tuple[int, int]:
        """The outermost vertices of the lips: the subject's right, then left."""
        lips = np.flatnonzero((self.masks["lips"] > 0.5) & (self.rest[:, 2] > 0.1))
        x = self.rest[lips, 0]
        return int(lips[np.argmin(x)]), int(lips[np.argmax(x)])

    def _lash(self) -> np.ndarray:
        """The lash line: 1 where the skin of the average head touches the front of an eyeball."""
        lash = np.zeros(len(self.base), np.float32)
        points = self.rest[self.skin]
        for eye in self.eyes.values():
            centre = self.rest[eye].mean(0)
            radius = np.linalg.norm(self.rest[eye] - centre, axis=1).max()
            near = ((1.16 - np.linalg.norm(points - centre, axis=1) / radius) / 0.08).clip(0, 1)
            lash[self.skin] = np.maximum(lash[self.skin], near * (points[:, 2] > centre[2]))
        return lash

    def normals(self, points: np.ndarray) -> np.ndarray:
        """Unit vertex normals, area weighted: (vertices, 3)."""
        a, b, c = (points[self.triangles[:, k]] for k in range(3))
        faces = np.cross(b - a, c - a)
        corner = self.triangles.ravel()
        total = [np.bincount(corner, np.repeat(faces[:, d], 3), len(points)) for d in range(3)]
        normals = np.stack(total, 1).astype(np.float32)
        return normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-9)

    def curvature(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Umbrella Laplacian along the normal over the mean edge length: positive in folds."""
        one, other = self.edges.T
        count = len(points)
        total = [
            np.bincount(one, points[other, d], count) + np.bincount(other, points[one, d], count) for d in range(3)
        ]
        laplacian = np.stack(total, 1).astype(np.float32) / self.degree[:, None] - points
        length = np.linalg.norm(points[one] - points[other], axis=1)
        mean = (np.bincount(one, length, count) + np.bincount(other, length, count)) / self.degree
        return (np.einsum("ij,ij->i", laplacian, normals) / mean.clip(1e-4)).astype(np.float32)
