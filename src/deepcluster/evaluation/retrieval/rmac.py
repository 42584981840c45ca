"""R-MAC: maps (B, D, h, w) -> regions' maxima -> one descriptor per image. Used by region_features.py, descriptors.py.

Tolias et al. 2016, "Particular object retrieval with integral max-pooling of CNN activations".
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

OVERLAP = 0.4  # target overlap of neighbouring regions of the first level; Tolias et al. 2016, original: 0.4
STEPS = range(2, 8)  # numbers of regions along the longer side that are tried for it; original: 2 to 7


def regions(height: int, width: int, levels: int) -> list[tuple[int, int, int]]:
    """Square regions (top, left, side) of a map, level by level.

    Level l has squares of side 2 min(h, w) / (l + 1), evenly spread: l of them along the shorter side and l + m - 1
    along the longer one. For a square map m = 1. Otherwise m is chosen so that the overlap of neighbours at level 1 is
    nearest to 40 % of their area. Positions are rounded down (original: a port of the authors' Matlab code).
    """
    shorter, longer = min(height, width), max(height, width)
    extra = 0
    if longer > shorter:

        def distance(n: int) -> float:
            apart = (longer - shorter) / (n - 1)
            # Written this way, ties such as that of 5 x 9 are resolved as in the original's float64.
            return abs((shorter**2 - shorter * apart) / shorter**2 - OVERLAP)

        extra = min(STEPS, key=distance) - 1
    squares = []
    for level in range(1, levels + 1):
        side = 2 * shorter // (level + 1)
        if side == 0:  # the map is too small for this level
            continue
        tops = _starts(height - side, level + (extra if height > width else 0))
        lefts = _starts(width - side, level + (extra if width > height else 0))
        squares += [(top, left, side) for top in tops for left in lefts]
    return squares


def _starts(room: int, n: int) -> list[int]:
    """The n positions from 0 to `room`, evenly spread."""
    return [0] if n == 1 else [k * room // (n - 1) for k in range(n)]


def region_maxima(maps: Tensor, levels: int) -> Tensor:
    """Maximum of each channel in each region, normalised to length 1: maps (B, D, h, w) -> (B, R, D) float32."""
    maxima = [
        maps[:, :, top : top + side, left : left + side].amax((2, 3))
        for top, left, side in regions(maps.shape[2], maps.shape[3], levels)
    ]
    return normalize(torch.stack(maxima, 1).float(), dim=2)


def aggregate(maxima: Tensor, counts: list[int], reduce: Callable[[Tensor], Tensor] | None) -> Tensor:
    """The images' descriptors (N, P), of length 1.

    Args:
        maxima: (sum of counts, D), the regions of all N images one after the other.
        counts: number of regions of each image.
        reduce: maps regions (R, D) to (R, P) of length 1, such as a fitted PCA-whitening; None: they stay unchanged.
    """
    if reduce is not None:
        maxima = reduce(maxima)
    return normalize(torch.stack([part.sum(0) for part in torch.split(maxima, counts)]), dim=1)
