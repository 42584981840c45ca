"""A tree of K clusters: which lie together, from K groups down to one. For k_scan.py and evaluation=merge.

Ward's criterion finds groups that are compact and of like sizes; average linkage those whose images are alike.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Tree:
    """How K clusters were joined.

    Args:
        merges: (K - 1, 4) as scipy's `linkage` writes them, the lowest first: two nodes (a node below K is a cluster,
            K + i is what row i joined), the height, and the clusters below.
    """

    merges: Floats

    @property
    def k(self) -> int:
        """The number of clusters K."""
        return len(self.merges) + 1

    def groups(self, n: int) -> Indices:
        """The group (K,) of each cluster when n groups are left, numbered by their first cluster.

        Raises:
            ValueError: if n is not in 1..K.
        """
        if not 1 <= n <= self.k:
            raise ValueError(f"{self.k} clusters make 1 to {self.k} groups, not {n}")
        group = np.arange(2 * self.k - 1)
        for number, (a, b) in enumerate(self.merges[: self.k - n, :2].astype(int)):
            group[a] = group[b] = self.k + number
        for node in range(2 * self.k - 2, -1, -1):  # a node comes after those that it joins
            group[node] = group[group[node]]
        _, first, inverse = np.unique(group[: self.k], return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        return rank[inverse]

    def leaves(self) -> list[int]:
        """All clusters in an order in which each group lies together, the order of a drawn tree."""
        order, open_nodes = [], [2 * self.k - 2]
        while open_nodes:
            node = open_nodes.pop()
            if node < self.k:
                order.append(node)
            else:
                a, b = self.merges[node - self.k, :2].astype(int)
                open_nodes += [b, a]
        return order


def ward_tree(centroids: Floats, sizes: Floats) -> Tree:
    """The tree by Ward's criterion (1963): each join adds least to the squared distances of images to their means.

    Clusters count by their sizes, so that the tree is that of the images, each in the place of its centroid. The height
    of a join is the root of twice what it adds.

    Args:
        centroids: (K, P).
        sizes: (K,), above 0.
    """
    means, weights = np.array(centroids, dtype=np.float64), np.array(sizes, dtype=np.float64)
    assert len(means) == len(weights) > 0 and bool((weights > 0).all())

    def heights(a: int) -> Floats:
        squared = np.square(means - means[a]).sum(axis=1)
        joined: Floats = np.sqrt(2 * squared * weights * weights[a] / (weights + weights[a]))
        return joined

    def join(a: int, b: int) -> None:
        means[a] = (weights[a] * means[a] + weights[b] * means[b]) / (weights[a] + weights[b])
        weights[a] += weights[b]

    return _tree(len(means), heights, join)


def average_tree(distances: Floats, sizes: Floats) -> Tree:
    """The tree by average linkage (Sokal and Michener 1958): each join is of the two groups nearest on average.

    Args:
        distances: (K, K) between clusters, symmetric: the mean over the pairs of their images.
        sizes: (K,), above 0: images.
    """
    between, weights = np.array(distances, dtype=np.float64), np.array(sizes, dtype=np.float64)
    assert between.shape == 2 * weights.shape and bool((weights > 0).all())

    def join(a: int, b: int) -> None:
        mean = (weights[a] * between[a] + weights[b] * between[b]) / (weights[a] + weights[b])
        between[a] = between[:, a] = mean
        weights[a] += weights[b]

    return _tree(len(between), lambda a: between[a].copy(), join)


def _tree(k: int, heights: Callable[[int], Floats], join: Callable[[int, int], None]) -> Tree:
    """Join the two groups whose join is lowest, until one is left; each group is known by one of its clusters.

    A chain of nearest neighbours (Murtagh 1983) finds the joins in about 3 K looks at a row of K heights. It may, as
    with both criteria no join brings the joined nearer to a third than the nearer of them was.

    Args:
        heights: of joining a group with each other one (K,).
        join: let the first of two groups become both.
    """
    is_left, chain = np.ones(k, dtype=bool), list[int]()
    joins = list[tuple[float, int, int]]()
    while len(joins) < k - 1:
        if not chain:
            chain.append(int(np.argmax(is_left)))
        last = chain[-1]
        height = heights(last)
        height[~is_left] = height[last] = np.inf
        nearest = int(np.argmin(height))
        if len(chain) == 1 or height[nearest] < height[chain[-2]]:
            chain.append(nearest)
            continue
        other = chain[-2]
        del chain[-2:]
        joins.append((float(height[other]), last, other))
        join(last, other)
        is_left[other] = False
    return Tree(merges=_numbered(sorted(joins, key=lambda joined: joined[0]), k))


def _numbered(joins: list[tuple[float, int, int]], k: int) -> Floats:
    """Joins, the lowest first, in scipy's form."""
    parent, below = np.arange(2 * k - 1), np.ones(2 * k - 1, dtype=np.int64)
    merges = np.empty((k - 1, 4))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = int(parent[node])
        return node

    for number, (height, a, b) in enumerate(joins):
        low, high = sorted((root(a), root(b)))
        parent[low] = parent[high] = k + number
        below[k + number] = below[low] + below[high]
        merges[number] = low, high, height, below[k + number]
    return merges
