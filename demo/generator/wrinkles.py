"""Wrinkle maps: the creases that an action unit folds into the skin (the mesh is too coarse to fold them itself).

Each map is a darkening in 0..1 on the atlas's texels, symmetric; the lines are drawn by hand
after the appearance changes that FACS (Ekman, Friesen and Hager 2002) describes.
"""

from itertools import pairwise

import numpy as np

from demo.generator.atlas import Atlas

Line = tuple[tuple[float, float], ...]  # points (|x|, y) on the average face, dm, origin between the eyes

LINES: dict[int, tuple[tuple[Line, float, float], ...]] = {  # AU -> (line, half width in dm, depth)
    1: tuple((((0.0, y - 0.02), (0.12, y), (0.24, y - 0.03)), 0.014, 0.8) for y in (0.36, 0.43, 0.5)),
    2: tuple((((0.26, y), (0.4, y + 0.01), (0.52, y - 0.05)), 0.014, 0.8) for y in (0.34, 0.41, 0.48)),
    4: (
        (((0.05, 0.08), (0.06, 0.16), (0.05, 0.24)), 0.016, 1.0),
        (((0.0, 0.12), (0.0, 0.24)), 0.05, 0.3),
        (((0.0, 0.04), (0.05, 0.03)), 0.014, 0.5),
    ),
    6: (
        (((0.5, 0.03), (0.6, 0.1)), 0.013, 0.9),
        (((0.51, -0.01), (0.63, 0.0)), 0.013, 0.9),
        (((0.5, -0.05), (0.6, -0.11)), 0.013, 0.9),
        (((0.17, -0.13), (0.3, -0.17), (0.46, -0.13)), 0.02, 0.8),
    ),
    7: (
        (((0.18, -0.08), (0.3, -0.1), (0.42, -0.07)), 0.016, 0.9),
        (((0.2, 0.09), (0.32, 0.11), (0.44, 0.07)), 0.014, 0.5),
    ),
    9: (
        (((0.0, 0.03), (0.07, 0.0)), 0.014, 0.8),
        (((0.0, -0.03), (0.08, -0.06)), 0.014, 0.8),
        (((0.05, -0.02), (0.12, -0.16)), 0.016, 0.8),
        (((0.14, -0.3), (0.2, -0.36), (0.22, -0.42)), 0.02, 0.8),
    ),
    10: ((((0.16, -0.33), (0.24, -0.42), (0.3, -0.52), (0.32, -0.58)), 0.022, 1.0),),
    12: ((((0.18, -0.36), (0.26, -0.45), (0.31, -0.56)), 0.02, 0.7),),
    14: ((((0.28, -0.64), (0.29, -0.7)), 0.018, 0.9),),
    15: ((((0.25, -0.7), (0.29, -0.76), (0.31, -0.84)), 0.02, 1.0),),
    17: (
        (((0.0, -0.86), (0.1, -0.88), (0.15, -0.92)), 0.02, 0.9),
        (((0.05, -1.0), (0.05, -1.01)), 0.02, 0.6),
        (((0.1, -0.97), (0.1, -0.98)), 0.02, 0.6),
    ),
    20: ((((0.31, -0.58), (0.34, -0.68), (0.33, -0.8)), 0.02, 0.8),),
    23: (
        *((((x, -0.56), (x * 0.95, -0.61)), 0.012, 0.7) for x in (0.03, 0.08, 0.13, 0.18)),
        *((((x, -0.76), (x, -0.81)), 0.012, 0.7) for x in (0.03, 0.08, 0.13)),
    ),
    24: (
        (((0.0, -0.595), (0.12, -0.605), (0.2, -0.64)), 0.016, 0.8),
        (((0.0, -0.79), (0.12, -0.78), (0.2, -0.74)), 0.018, 0.9),
        (((0.25, -0.63), (0.27, -0.68), (0.25, -0.73)), 0.018, 0.9),
    ),
}


def wrinkle_maps(atlas: Atlas) -> dict[int, np.ndarray]:
    """AU -> darkening (texels,) in 0..1."""
    side, height, front = np.abs(atlas.place[:, 0]), atlas.place[:, 1], atlas.place[:, 2] > -0.35
    maps = {}
    for au, lines in LINES.items():
        dark = np.zeros(len(side), np.float32)
        for line, width, depth in lines:
            dark = np.maximum(dark, depth * np.exp(-((_distance(side, height, line) / width) ** 2)))
        maps[au] = (dark * front).astype(np.float32)
    return maps


def _distance(x: np.ndarray, y: np.ndarray, line: Line) -> np.ndarray:
    """Distance of points to a polyline."""
    best = np.full(len(x), np.inf, np.float32)
    for (ax, ay), (bx, by) in pairwise(line):
        dx, dy = bx - ax, by - ay
        along = (((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)).clip(0, 1)
        best = np.minimum(best, np.hypot(x - ax - along * dx, y - ay - along * dy))
    return best
