"""R-MAC written out plainly: floating-point steps as in the paper's Matlab code, loops over regions and channels."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def regions(height: int, width: int, levels: int) -> list[tuple[int, int, int]]:
    """(top, left, side): the number of steps first, then for each level the centres, floored, less half a side."""
    w = min(height, width)
    best, steps = math.inf, 0
    for m in (2, 3, 4, 5, 6, 7):
        b = (max(height, width) - w) / (m - 1)
        distance = abs((w**2 - w * b) / w**2 - 0.4)
        if distance < best:
            best, steps = distance, m
    more_h = steps - 1 if height > width else 0
    more_w = steps - 1 if width > height else 0
    found = []
    for level in range(1, levels + 1):
        side = math.floor(2 * w / (level + 1))
        half = math.floor(side / 2 - 1)
        b_w = 0.0 if level + more_w == 1 else (width - side) / (level + more_w - 1)
        b_h = 0.0 if level + more_h == 1 else (height - side) / (level + more_h - 1)
        for i in range(level + more_h):
            for j in range(level + more_w):
                top = math.floor(half + i * b_h + 1e-9) - half
                left = math.floor(half + j * b_w + 1e-9) - half
                if side > 0:
                    found.append((top, left, side))
    return found


def unit(vector: Array) -> Array:
    length = math.sqrt(sum(float(x) ** 2 for x in vector))
    return vector / length if length > 0 else vector


def descriptor(maps: Array, levels: int, mean: Array | None = None, projection: Array | None = None) -> Array:
    """Of one image's maps (D, h, w): maxima, L2, whitening (x - mean) @ projection, L2, sum, L2."""
    n_channels, height, width = maps.shape
    total = 0.0
    for top, left, side in regions(height, width, levels):
        maxima = np.array([maps[c, top : top + side, left : left + side].max() for c in range(n_channels)])
        vector = unit(maxima)
        if mean is not None and projection is not None:
            vector = unit((vector - mean) @ projection)
        total = total + vector
    return unit(np.asarray(total))


def average_precision(ranked: list[str], positives: set[str], junk: set[str]) -> float:
    """Oxford5k's program, step by step: every image that is not junk adds a trapezoid, most of width 0."""
    old_recall, old_precision, area = 0.0, 1.0, 0.0
    n_found = n_seen = 0
    for image in ranked:
        if image in junk:
            continue
        n_found += image in positives
        n_seen += 1
        recall, precision = n_found / len(positives), n_found / n_seen
        area += (recall - old_recall) * (old_precision + precision) / 2
        old_recall, old_precision = recall, precision
    return area
