"""Coates and Ng's networks patch by patch: float64 numpy, loops, nothing blocked."""

import math

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def normalised(patch: Float, contrast: float) -> Float:
    """Less its mean, divided by sqrt(variance + contrast)."""
    mean = sum(patch) / len(patch)
    variance = sum((value - mean) ** 2 for value in patch) / len(patch)
    return np.array([(value - mean) / math.sqrt(variance + contrast) for value in patch])


def zca(patches: Float, epsilon: float) -> tuple[Float, Float]:
    """Mean and matrix V (L + epsilon)^(-1/2) V^T of patches (n, d)."""
    variances, directions = np.linalg.eigh(np.cov(patches, rowvar=False, bias=True))
    return patches.mean(axis=0), directions @ np.diag(1 / np.sqrt(variances + epsilon)) @ directions.T


def codes(
    maps: Float, centroids: Float, mean: Float, matrix: Float, *, size: int, contrast: float, hard: bool
) -> Float:
    """(K, h, w) of maps (C, H, W): images in grey levels, or the maps of a group."""
    n_rows, n_columns = maps.shape[1] - size + 1, maps.shape[2] - size + 1
    found = np.zeros((len(centroids), n_rows, n_columns))
    for row in range(n_rows):
        for column in range(n_columns):
            patch = maps[:, row : row + size, column : column + size].reshape(-1)
            z = matrix @ (normalised(patch, contrast) - mean)
            distances = np.array([math.sqrt(((z - c) ** 2).sum()) for c in centroids])
            if hard:
                found[:, row, column] = np.arange(len(centroids)) == distances.argmin()
            else:
                found[:, row, column] = np.maximum(0, distances.mean() - distances)
    return found


def quadrants(maps: Float) -> Float:
    """(K, 2, 2) of maps (K, h, w)."""
    sums = np.zeros((len(maps), 2, 2))
    n_rows, n_columns = maps.shape[1:]
    for row in range(n_rows):
        for column in range(n_columns):
            sums[:, int(row >= math.ceil(n_rows / 2)), int(column >= math.ceil(n_columns / 2))] += maps[:, row, column]
    return sums


def pooled(maps: Float, side: int) -> Float:
    """Means of maps (K, h, w) over squares; what is left over on the right and below is left out."""
    n_rows, n_columns = maps.shape[1] // side, maps.shape[2] // side
    found = np.zeros((len(maps), n_rows, n_columns))
    for row in range(n_rows):
        for column in range(n_columns):
            rows, columns = (slice(place * side, (place + 1) * side) for place in (row, column))
            found[:, row, column] = maps[:, rows, columns].mean(axis=(1, 2))
    return found


def dependence(x: Float, y: Float) -> float:
    """Correlation of the squares of two answers (n,), each of variance 1, after ZCA whitening of the pair."""
    pair = np.stack([(x - x.mean()) / x.std(), (y - y.mean()) / y.std()], axis=1)
    _, matrix = zca(pair, 0.0)
    one, other = (pair @ matrix).T
    return float(np.corrcoef(one**2, other**2)[0, 1])
