"""Coates and Ng's single-layer network patch by patch: float64 numpy, loops, nothing blocked."""

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


def features(
    image: Float, centroids: Float, mean: Float, matrix: Float, *, size: int, contrast: float, hard: bool
) -> Float:
    """(K, 2, 2) of an image (C, H, W) in grey levels."""
    n_rows, n_columns = image.shape[1] - size + 1, image.shape[2] - size + 1
    sums = np.zeros((len(centroids), 2, 2))
    for row in range(n_rows):
        for column in range(n_columns):
            patch = image[:, row : row + size, column : column + size].reshape(-1)
            z = matrix @ (normalised(patch, contrast) - mean)
            distances = np.array([math.sqrt(((z - c) ** 2).sum()) for c in centroids])
            if hard:
                code = (np.arange(len(centroids)) == distances.argmin()).astype(float)
            else:
                code = np.maximum(0, distances.mean() - distances)
            sums[:, int(row >= math.ceil(n_rows / 2)), int(column >= math.ceil(n_columns / 2))] += code
    return sums
