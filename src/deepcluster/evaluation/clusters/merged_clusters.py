"""A coarser view of a run's clusters: its centroids, joined to fewer groups. Next: visualization/merge.py."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.tree import Indices, Tree, average_tree


@dataclass(frozen=True, kw_only=True)
class MergedClusters:
    """K clusters in fewer groups.

    Args:
        tree: of the clusters.
        groups: (K,) the group of each cluster, the group with most images first.
    """

    tree: Tree
    groups: Indices

    @property
    def n_groups(self) -> int:
        """The number of groups."""
        return int(self.groups.max()) + 1

    def of_images(self, clusters: Tensor) -> Tensor:
        """The groups (N,) of images in clusters (N,); -1 stays -1."""
        groups = torch.from_numpy(self.groups)
        return torch.where(clusters < 0, -1, groups[clusters.clamp(min=0)])


def merge_clusters(assignment: Assignment, n_groups: int, key: str = "evaluation.k") -> MergedClusters:
    """Join the two clusters, then groups, whose images are nearest on average, until so many groups are left.

    Of Ward's criterion and this, on centroids with and without their lengths, this one's groups fit classes best
    (docs/tried.md).

    Args:
        key: of the setting that gave n_groups, for the message.

    Raises:
        ValueError: if there are fewer clusters.
    """
    if n_groups > assignment.k:
        raise ValueError(f"{key}={n_groups} is more than the run's {assignment.k} clusters; lower it")
    sizes = assignment.sizes().double().numpy()
    # A cluster that is kept empty has a place nevertheless: it counts as one image.
    tree = average_tree(mean_distances(assignment).numpy(), np.maximum(sizes, 1))
    groups = tree.groups(n_groups)
    by_size = np.argsort(-np.bincount(groups, weights=sizes), kind="stable")
    rank = np.empty_like(by_size)
    rank[by_size] = np.arange(n_groups)
    return MergedClusters(tree=tree, groups=rank[groups])


def mean_distances(assignment: Assignment) -> Tensor:
    """The mean squared distance (K, K) between an image of one cluster and one of another, from the centroids alone.

    Of rows of length 1 it is 2 - 2 c.c', as the mean of all products is the product of the means. Of others it is
    |c - c'|^2 and the clusters' own spread, which is left out: it is not stored.
    """
    centroids = assignment.centroids.double()
    if assignment.reduction is not None and assignment.reduction.l2:
        return 2 - 2 * centroids @ centroids.T
    return torch.cdist(centroids, centroids).square()
