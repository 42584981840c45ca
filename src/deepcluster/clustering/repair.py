"""Empty clusters get half of the largest one, are left out, or stay. Next: kmeans_fit.py."""

import heapq
from collections.abc import Callable

import torch
from torch import Tensor

from deepcluster.clustering.assignment import NUMBERS_PER_BLOCK, sum_dtype


@torch.no_grad()
def repair_empty(features: Tensor, labels: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor, int]:
    """Give every empty cluster half of the largest one, until none is empty.

    The members are ranked along the direction from their mean to the farthest of them, and the upper half moves; so
    equal images can be parted too. Both centroids become the means of their halves.

    Args:
        features: (N, P).
        labels: (N,) int64.
        centroids: (K, P).

    Returns:
        labels and centroids (copies if anything changed), and the number of clusters that were empty.

    Raises:
        ValueError: if N < K.
    """
    return repair_with(
        labels,
        centroids,
        halves=lambda indices: _halves(features, indices),
        mean=lambda indices: _mean(features, indices, sum_dtype(centroids.device)),
    )


def repair_with(
    labels: Tensor,
    centroids: Tensor,
    *,
    halves: Callable[[Tensor], tuple[Tensor, Tensor]],
    mean: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor, int]:
    """:func:`repair_empty` without the features themselves, as several processes have them (kmeans_shares.py).

    Args:
        halves: images (M,) in ascending order -> their two halves.
        mean: images (M,) -> the mean (P,) of their features.
    """
    k = len(centroids)
    if len(labels) < k:
        raise ValueError(f"{len(labels)} images cannot fill {k} clusters")
    sizes = torch.bincount(labels, minlength=k)
    empty = torch.nonzero(sizes == 0).flatten().tolist()
    if not empty:
        return labels, centroids, 0
    labels, centroids = labels.clone(), centroids.clone()
    order = torch.argsort(labels, stable=True)
    members = dict(enumerate(torch.split(order, sizes.tolist())))
    largest_first = [(-len(indices), cluster) for cluster, indices in members.items()]
    heapq.heapify(largest_first)  # ties: the lower cluster first
    for new in empty:
        _, old = heapq.heappop(largest_first)
        for cluster, indices in zip((old, new), halves(members[old]), strict=True):
            members[cluster] = indices
            labels[indices] = cluster
            centroids[cluster] = mean(indices).to(centroids)
            heapq.heappush(largest_first, (-len(indices), cluster))
    return labels, centroids, len(empty)


def squeeze_empty(labels: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor, int]:
    """Leave out the empty clusters and renumber the others in their order, as the 2018 code does.

    There faiss repairs inside its iterations only, so clusters can be empty after the last assignment, and
    ReassignedDataset renumbers the others (original: clustering.py).

    Args:
        labels: (N,) int64.
        centroids: (K, P).

    Returns:
        labels, centroids of the clusters in use, and the number of clusters that were empty.
    """
    used = torch.bincount(labels, minlength=len(centroids)) > 0
    number = torch.cumsum(used, dim=0) - 1
    return number[labels], centroids[used], int((~used).sum())


def count_empty(labels: Tensor, centroids: Tensor) -> int:
    """The number of centroids (K, P) that are no image's label (N,)."""
    return int((torch.bincount(labels, minlength=len(centroids)) == 0).sum())


def _halves(features: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Two halves of the rows at `indices`, by rank along the direction from their mean to the farthest row.

    It works in blocks, because the largest cluster can hold nearly all images.
    """
    mean = _mean(features, indices, torch.float32)
    blocks = torch.split(indices, _block(features))
    lengths = torch.cat([(features[block].float() - mean).square().sum(dim=1) for block in blocks])
    farthest = features[indices[lengths.argmax()]].float() - mean
    # A sum, because a matrix product's rounding would depend on the precision that is set.
    along = torch.cat([((features[block].float() - mean) * farthest).sum(dim=1) for block in blocks])
    order = torch.argsort(along, stable=True)
    half = (len(indices) + 1) // 2
    return indices[order[:half]], indices[order[half:]]


def _mean(features: Tensor, indices: Tensor, dtype: torch.dtype) -> Tensor:
    """The mean (P,) of the rows at `indices`, added up in `dtype`; for a single block exactly torch's mean."""
    mean = torch.zeros(features.shape[1], dtype=dtype, device=features.device)
    for block in torch.split(indices, _block(features)):
        mean += features[block].float().mean(dim=0, dtype=dtype) * (len(block) / len(indices))
    return mean


def _block(features: Tensor) -> int:
    """The number of rows in a block."""
    return max(1, NUMBERS_PER_BLOCK // features.shape[1])
