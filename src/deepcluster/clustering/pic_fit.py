"""Reduced features (N, P) -> Assignment by power iteration clustering, which finds the number of clusters itself.

neighbours.py finds the graph, pic_graph.py its clusters.
"""

import math

import numpy as np
import torch
from torch import Tensor

from deepcluster.clustering import kmeans_torch, pic_graph
from deepcluster.clustering.assignment import Assignment, squared_distance
from deepcluster.clustering.merge import merge_smallest
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
    arithmetic: str,
    distribute_singletons: bool,
    max_k: int,
) -> Assignment:
    """The clusters of a graph of neighbours; the settings are those of :class:`PIC`.

    Args:
        features: (N, P) float32, on the CPU.
        neighbours, squared_distances: (N, n).
        max_k: the most clusters; the smallest beyond are merged into others.

    Returns:
        An assignment on the CPU, without its reduction. Its centroids are the clusters' means, so that new images
        have a nearest one; an image's own cluster need not be that of the nearest. Its objective is as in k-means;
        the 2018 code returned 0.

    Raises:
        ValueError: if all weights vanish.
    """
    dtype = np.float32 if arithmetic == "float32" else np.float64
    graph = pic_graph.adjacency(neighbours, squared_distances, sigma, dtype)
    if graph.nnz == 0:
        nearest = math.sqrt(squared_distances.min())
        raise ValueError(
            f"clustering.sigma={sigma} is too small for these features: the nearest two are {nearest:.3g} "
            "apart and every weight is 0; raise it, or set reduction=pca_whiten or l2, which give unit vectors"
        )
    iterate = pic_graph.float32_height if arithmetic == "float32" else pic_graph.height
    hills = pic_graph.climb(graph, iterate(graph, alpha=alpha, n_iter=n_iter))
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


def _means(features: Tensor, labels: Tensor) -> Tensor:
    """The mean of each cluster (K, P); every one has members."""
    return kmeans_torch.update(features, labels, features.new_zeros(int(labels.max()) + 1, features.shape[1]))
