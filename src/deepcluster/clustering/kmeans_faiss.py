"""Lloyd iterations by faiss on the CPU, and its random draws. Next: kmeans_fit.py assigns the images.

On a GPU, kmeans_shares.py iterates with faiss's search and with the draws and splits below.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepcluster.clustering.assignment import ROWS_PER_BLOCK
from deepcluster.clustering.faiss_index import load_faiss
from deepcluster.clustering.kmeans_torch import PERTURBATION

ALL_POINTS = 10_000_000  # original: clustering.py, run_kmeans, max_points_per_centroid
SPLIT_SEED = 1234  # faiss, Clustering.cpp, split_clusters


def lloyd(
    features: Tensor,
    k: int,
    *,
    n_iter: int,
    seed: int,
    spherical: bool = False,
    max_points_per_centroid: int | None = None,
    start: Tensor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Centroids (K, P), float32, after n_iter iterations on features (N, P), all on the CPU.

    faiss is called for one iteration at a time, so that progress can be reported. The centroids are those of a single
    call with n_iter (a test checks it), without the early stop of faiss >= 1.14, as in 2018. In each iteration faiss
    replaces the centroid of an empty cluster by a perturbed copy of another.

    A sample of the images is copied once, as float32. Without a sample nothing is copied: faiss's codec decodes
    float16 in blocks.

    Args:
        start: centroids (K, P) float32 to begin at; None: at images that faiss draws.
    """
    faiss = load_faiss()
    _, sample = draw(len(features), k, seed, max_points_per_centroid)
    if sample is not None:
        features = _subsample(features, sample)
    numbers = features.numpy()
    index = faiss.IndexFlatL2(features.shape[1])
    codec = faiss.IndexScalarQuantizer(features.shape[1], faiss.ScalarQuantizer.QT_fp16)
    centroids: np.ndarray[Any, np.dtype[np.float32]] | None = None if start is None else start.numpy()
    for iteration in range(n_iter):
        clustering = faiss.Clustering(features.shape[1], k)
        clustering.niter = 1
        clustering.seed = seed % 2**31  # a C int
        clustering.spherical = spherical
        clustering.max_points_per_centroid = ALL_POINTS
        clustering.min_points_per_centroid = 1  # below it faiss only warns
        if centroids is not None:
            faiss.copy_array_to_vector(centroids.ravel(), clustering.centroids)
        if numbers.dtype == np.float16:
            clustering.train_encoded(numbers.view(np.uint8), codec, index)
        else:
            clustering.train(numbers, index)
        centroids = faiss.vector_to_array(clustering.centroids).reshape(k, features.shape[1])
        if progress is not None:
            progress(iteration + 1)
    return torch.from_numpy(centroids)


def _subsample(features: Tensor, chosen: Tensor) -> Tensor:
    """A float32 copy of the chosen (M,) rows, in their order, made in blocks."""
    sample = torch.empty(len(chosen), features.shape[1])
    for start in range(0, len(chosen), ROWS_PER_BLOCK):
        block = slice(start, start + ROWS_PER_BLOCK)
        sample[block] = features[chosen[block]]
    return sample


def draw(n_images: int, k: int, seed: int, max_points_per_centroid: int | None) -> tuple[Tensor, Tensor | None]:
    """The images that faiss starts from (K,), and those that it iterates on (None: all).

    These are the draws that faiss makes inside :func:`lloyd` (Clustering.cpp). kmeans_shares.py, which iterates without
    faiss's loop, needs them from outside.
    """
    seed, n_sample = seed % 2**31, k * (max_points_per_centroid or ALL_POINTS)
    sample = _permutation(n_images, seed)[:n_sample] if n_images > n_sample else None
    n = n_images if sample is None else n_sample
    starts = torch.arange(k) if n == k else _permutation(n, seed + 1)[:k]  # n = k: faiss copies the images
    return (starts if sample is None else sample[starts]), sample


def _permutation(n: int, seed: int) -> Tensor:
    faiss = load_faiss()
    order: np.ndarray[Any, np.dtype[np.int32]] = np.empty(n, dtype=np.int32)
    faiss.rand_perm(faiss.swig_ptr(order), n, seed)
    return torch.from_numpy(order).long()


def split_into_empty(centroids: Tensor, sizes: Tensor) -> Tensor:
    """Give each empty cluster half of another, drawn with probability by size, as faiss does in its iterations.

    Args:
        centroids: (K, P).
        sizes: (K,) int64.
    """
    counts = sizes.cpu().double().numpy().copy()
    empty = np.flatnonzero(counts == 0)
    if len(empty) == 0:
        return centroids
    centroids, k, n = centroids.clone(), len(counts), counts.sum()
    signs = torch.ones(centroids.shape[1], device=centroids.device)
    signs[1::2] = -1
    draws = load_faiss().RandomGenerator(SPLIT_SEED)
    for new in empty.tolist():
        old = 0
        while not draws.rand_float() < np.float32((counts[old] - 1.0) / (n - k)):
            old = (old + 1) % k
        centroids[new] = centroids[old] * (1 + PERTURBATION * signs)
        centroids[old] *= 1 - PERTURBATION * signs
        counts[new] = counts[old] / 2
        counts[old] -= counts[new]
    return centroids
