"""A z-buffer rasteriser in numpy: triangles in blocks of like size, no Python loop over triangles."""

from typing import NamedTuple

import numpy as np

SIZE_CLASSES = (2, 3, 4, 6, 9, 14, 24, 48, 4096)  # longest bounding-box side in pixels
BLOCK_FRAGMENTS = 2_000_000


class Fragments(NamedTuple):
    """The nearest surface of each covered pixel."""

    pixel: np.ndarray  # flat index into height * width, ascending
    triangle: np.ndarray
    weights: np.ndarray  # (pixels, 3) barycentric, float32


def rasterise(
    points: np.ndarray, depth: np.ndarray, triangles: np.ndarray, size: tuple[int, int], cull: bool = True
) -> Fragments:
    """Rasterise `triangles` (n, 3) over `points` (v, 2) in pixels; the larger `depth` (v,) wins. `size` is (H, W).

    With `cull`, triangles that face away (clockwise on a screen whose y points down) are dropped.
    """
    height, width = size
    corner = points.astype(np.float32)[triangles]
    first, second, third = corner[:, 0], corner[:, 1], corner[:, 2]  # numpy is slow at reducing an axis of three
    low = np.floor(np.minimum(np.minimum(first, second), third)).astype(np.int32)
    high = np.ceil(np.maximum(np.maximum(first, second), third)).astype(np.int32)
    one, two = second - first, third - first
    area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    inside = (high[:, 0] >= 0) & (high[:, 1] >= 0) & (low[:, 0] < width) & (low[:, 1] < height)
    seen = np.flatnonzero(inside & ((area < -1e-7) if cull else (np.abs(area) > 1e-7)))
    extent = np.maximum(high[:, 0] - low[:, 0], high[:, 1] - low[:, 1])[seen]
    zs = depth.astype(np.float32)[triangles]
    parts = []
    smallest = -1
    for largest in SIZE_CLASSES:
        chosen = seen[(extent <= largest) & (extent > smallest)]
        smallest = largest
        if not len(chosen):
            continue
        side = int((high[chosen] - low[chosen]).max()) + 1
        step = max(1, BLOCK_FRAGMENTS // side**2)
        for start in range(0, len(chosen), step):
            block = chosen[start : start + step]
            parts.append(_cover(block, side, low, first, one, two, area, zs, size))
    return _nearest([np.concatenate(column) for column in zip(*parts, strict=True)], height * width)


def _cover(
    block: np.ndarray,
    side: int,
    low: np.ndarray,
    origin: np.ndarray,
    one: np.ndarray,
    two: np.ndarray,
    area: np.ndarray,
    zs: np.ndarray,
    size: tuple[int, int],
) -> tuple[np.ndarray, ...]:
    """Fragments of one block of triangles: pixel, triangle, weights of corners 1 and 2, depth."""
    # 1. every triangle of the block gets a square of `side` pixels from its low corner
    height, width = size
    steps = np.arange(side, dtype=np.int32)
    x, y = low[block, 0, None] + steps, low[block, 1, None] + steps
    dx = (x.astype(np.float32) - origin[block, 0, None])[:, None, :]
    dy = (y.astype(np.float32) - origin[block, 1, None])[:, :, None]

    # 2. barycentric weights of corners 1 and 2 at each pixel of each square: two edge functions over the area
    inverse = 1 / area[block][:, None]
    ax, ay = (two[block, 1, None] * inverse)[:, None], (two[block, 0, None] * inverse)[:, None]
    bx, by = (one[block, 1, None] * inverse)[:, None], (one[block, 0, None] * inverse)[:, None]
    first = dx * ax - dy * ay
    second = dy * by - dx * bx

    # 3. inside where no weight is negative; the slack closes seams between neighbours, which share an edge
    covered = (first >= -1e-5) & (second >= -1e-5) & (first + second <= 1 + 1e-5)
    covered &= ((x >= 0) & (x < width))[:, None, :] & ((y >= 0) & (y < height))[:, :, None]

    # 4. only what is covered goes on; depth is linear over the triangle
    index = np.flatnonzero(covered)  # of one axis: three at once take thrice the time
    first, second = first.ravel()[index], second.ravel()[index]
    square, place = np.divmod(index, side * side)
    row, column = np.divmod(place, side)
    triangle = block[square]
    z = zs[triangle]
    depth = z[:, 0] + first * (z[:, 1] - z[:, 0]) + second * (z[:, 2] - z[:, 0])
    return y[square, row] * width + x[square, column], triangle, first, second, depth


def _nearest(columns: list[np.ndarray], pixels: int) -> Fragments:
    pixel, triangle, first, second, depth = columns
    buffer = np.full(pixels, -np.inf, np.float32)
    np.maximum.at(buffer, pixel, depth)
    winner = np.full(pixels, -1)
    on_top = np.flatnonzero(depth == buffer[pixel])
    winner[pixel[on_top[::-1]]] = on_top[::-1]  # a tie goes to the first
    kept = winner[winner >= 0]
    weights = np.stack([1 - first[kept] - second[kept], first[kept], second[kept]], 1)
    return Fragments(pixel[kept], triangle[kept], weights)
