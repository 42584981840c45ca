"""More clusters than there is room for: the smallest join their nearest others. pic_fit.py ends with this."""

import torch
from torch import Tensor

from deepcluster.clustering.assignment import nearest_centroid


@torch.no_grad()
def merge_smallest(labels: Tensor, centroids: Tensor, max_k: int) -> tuple[Tensor, int]:
    """Keep the max_k largest clusters (the lower label among equals); each other joins the nearest of those.

    Args:
        labels: (N,) int64 in 0..K-1.
        centroids: (K, P).

    Returns:
        The labels in 0..max_k-1, in the order of before, and how many clusters were merged.
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
