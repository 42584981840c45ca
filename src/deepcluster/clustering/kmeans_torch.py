"""Steps of k-means in torch: draw the start, take means, fill empty clusters. kmeans_shares.py iterates them.

For devices that faiss does not serve, and to check faiss against. Next: kmeans_fit.py.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering.assignment import ROWS_PER_BLOCK, nearest_centroid, sum_dtype

PERTURBATION = 1 / 1024  # as in faiss, Clustering.cpp
NOISE = 0.1  # standard deviation of the start in the code of Coates, Ng and Lee 2011


def draw(n_images: int, k: int, seed: int, max_points_per_centroid: int | None) -> tuple[Tensor, Tensor | None]:
    """The images that k-means starts from (K,), and those that it iterates on (None: all).

    They are drawn on the CPU, so that the start is the same on every device.
    """
    order = torch.randperm(n_images, generator=torch.Generator().manual_seed(seed))
    if max_points_per_centroid is not None and n_images > k * max_points_per_centroid:
        return order[:k], order[: k * max_points_per_centroid]
    return order[:k], None


@torch.no_grad()
def lloyd_from_noise(features: Tensor, k: int, *, n_iter: int, seed: int, spherical: bool = False) -> Tensor:
    """Centroids (K, P) that start as small normal noise around 0, for whitened patches (Coates, Ng and Lee 2011).

    So no outlier becomes a centroid by being drawn at the start. An empty cluster's centroid is 0 until an image
    is nearest to it, as in their code.
    """
    centroids = NOISE * torch.randn(k, features.shape[1], generator=torch.Generator().manual_seed(seed))
    centroids = centroids.to(features.device)
    for _ in range(n_iter):
        if spherical:
            centroids = normalize(centroids, dim=1)
        centroids, _ = means(features, nearest_centroid(features, centroids), k)
    return normalize(centroids, dim=1) if spherical else centroids


def means(features: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The mean of each cluster's members (K, P), 0 for an empty cluster, and the clusters' sizes (K,).

    Sums are float64 (float32 on mps): on GPUs the order of additions varies from run to run, and float64 rounds
    that away.
    """
    device = features.device
    dtype = sum_dtype(device)
    sums = torch.zeros((k, features.shape[1]), dtype=dtype, device=device)
    for start in range(0, len(features), ROWS_PER_BLOCK):
        block = slice(start, start + ROWS_PER_BLOCK)
        sums.index_add_(0, labels[block].to(device), features[block].to(dtype))
    sizes = torch.bincount(labels, minlength=k).to(device)
    return (sums / sizes.clamp_min(1)[:, None]).float(), sizes


def split_into_empty(centroids: Tensor, sizes: Tensor) -> Tensor:
    """Every empty cluster becomes a copy of the largest, both perturbed by 1/1024 in opposite directions.

    faiss does the same, but draws the cluster to split at random, by size. The two copies will share the images,
    so each counts half of them afterwards.
    """
    empty = torch.nonzero(sizes == 0).flatten().tolist()
    if not empty:
        return centroids
    centroids, counts = centroids.clone(), sizes.cpu().clone()
    signs = torch.ones(centroids.shape[1], device=centroids.device)
    signs[1::2] = -1
    for new in empty:
        largest = int(counts.argmax())
        centroids[new] = centroids[largest] * (1 + PERTURBATION * signs)
        centroids[largest] *= 1 - PERTURBATION * signs
        counts[new] = counts[largest] // 2
        counts[largest] -= counts[new]
    return centroids
