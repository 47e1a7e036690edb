"""Where things land in the picture: head rotation and a pinhole camera."""

import numpy as np

from demo.generator.scene import Scene

FACE_HEIGHT = 2.1  # dm from chin to hairline, by which `Scene.face` is measured


def rotation(*degrees: float) -> np.ndarray:
    """Yaw about the neck, then pitch, then roll, in degrees: (3, 3) float32."""
    yaw, pitch, roll = np.deg2rad(degrees)
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    return (about_z @ about_x @ about_y).astype(np.float32)


def project(points: np.ndarray, scene: Scene, size: tuple[int, int]) -> np.ndarray:
    """A pinhole camera that looks at the face: points about the pivot (n, 3) → pixels (n, 2)."""
    height, width = size
    focal = height * scene.face / FACE_HEIGHT * scene.distance
    scale = focal / (scene.distance - points[:, 2])
    x = width / 2 + scene.shift[0] * height + scale * points[:, 0]
    y = height * (0.5 + scene.shift[1]) - scale * (points[:, 1] + 0.05)
    return np.stack([x, y], 1).astype(np.float32)
