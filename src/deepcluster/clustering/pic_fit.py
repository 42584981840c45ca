"""Reduced features (N, P) -> Assignment by power iteration clustering, which finds the number of clusters itself.

neighbours.py finds the graph, pic_graph.py its clusters. Where there are more than the head has room for, the smallest
are merged into their nearest others.
"""

import math

import torch
from torch import Tensor

from deepcluster.clustering import kmeans_torch, pic_graph
from deepcluster.clustering.assignment import Assignment, nearest_centroid, squared_distance
from deepcluster.clustering.neighbours import Floats, Indices


@torch.no_grad()
def cluster(
    features: Tensor,
    neighbours: Indices,
    squared_distances: Floats,
    *,
    sigma: float,
    alpha: float,
    n_iter: int,
    distribute_singletons: bool,
    max_k: int,
) -> Assignment:
    """The clusters of a graph of neighbours; the settings are those of :class:`PIC`.

    Args:
        features: (N, P) float32, on the CPU.
        neighbours, squared_distances: (N, n).
        max_k: the most clusters; see :func:`merge_smallest`.

    Returns:
        An assignment on the CPU, without its reduction. Its centroids are the clusters' means, by which new images
        are assigned; an image of the graph may be nearer to another cluster's mean than to its own. The objective is
        k-means'; the 2018 code returned 0.

    Raises:
        ValueError: if all weights are 0.
    """
    graph = pic_graph.adjacency(neighbours, squared_distances, sigma)
    if graph.nnz == 0:
        nearest = math.sqrt(squared_distances.min())
        raise ValueError(
            f"clustering.sigma={sigma} is too small for these features: the nearest two are {nearest:.3g} "
            "apart and every weight is 0; raise it, or set reduction=pca_whiten or l2, which give unit vectors"
        )
    hills = pic_graph.climb(graph, pic_graph.height(graph, alpha=alpha, n_iter=n_iter))
    labels = torch.from_numpy(pic_graph.join_lone(hills, neighbours) if distribute_singletons else hills)
    labels, n_merged = merge_smallest(labels, _means(features, labels), max_k)
    centroids = _means(features, labels)
    return Assignment(
        labels=labels,
        k=len(centroids),
        objective=squared_distance(features, labels, centroids),
        centroids=centroids,
        n_merged=n_merged,
    )


@torch.no_grad()
def merge_smallest(labels: Tensor, centroids: Tensor, max_k: int) -> tuple[Tensor, int]:
    """Keep the max_k largest clusters (among equals the lower label); each of the others joins its nearest kept one.

    Args:
        labels: (N,) int64 in 0..K-1.
        centroids: (K, P).

    Returns:
        The labels in 0..max_k-1, kept clusters in their old order, and how many clusters were merged into others.
    """
    k = len(centroids)
    if k <= max_k:
        return labels, 0
    order = torch.argsort(torch.bincount(labels, minlength=k), descending=True, stable=True)
    kept, surplus = order[:max_k].sort().values, order[max_k:]
    new = torch.empty(k, dtype=torch.int64)
    new[kept] = torch.arange(max_k)
    new[surplus] = nearest_centroid(centroids[surplus], centroids[kept])
    return new[labels], k - max_k


def _means(features: Tensor, labels: Tensor) -> Tensor:
    """The mean of each cluster (K, P); every cluster has members."""
    return kmeans_torch.means(features, labels, int(labels.max()) + 1)[0]
