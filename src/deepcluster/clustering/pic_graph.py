"""Power iteration clustering on a graph of neighbours: weights, power iteration, hill climbing, single images.

Next: pic_fit.py makes an Assignment of the clusters. tests/reference/pic.py is a plain second implementation.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from deepcluster.clustering.neighbours import Floats, Indices

DIGITS = 12  # decimal digits that are compared; the last ones of float64's 16 depend on rounding


def adjacency(neighbours: Indices, squared_distances: Floats, sigma: float) -> Any:
    """W = A + A^T with A_ij = exp(-d_ij^2 / sigma^2) for the neighbours j of i (original: make_adjacencyW).

    Args:
        neighbours: (N, n).
        squared_distances: (N, n).

    Returns:
        (N, N) sparse matrix of float64, each row's columns in order.
    """
    n_images, n = neighbours.shape
    weights = np.exp(-squared_distances / sigma**2)
    starts = np.arange(0, n_images * n + 1, n)
    one_way = csr_matrix((weights.ravel(), neighbours.ravel(), starts), shape=(n_images, n_images))
    graph = (one_way + one_way.T).tocsr()
    graph.sort_indices()
    return graph


def height(graph: Any, *, alpha: float, n_iter: int) -> Floats:
    """Each image's height (N,): its value after n_iter power iterations, relative to the lowest possible value.

    The iteration is v <- alpha W v + (1 - alpha) / N, divided by its sum, from v = 1 / N. Most weights are so small
    (e^-25 at a squared distance of 1) that v loses them when the constant is added. So x with v = c (1 + x) is iterated
    instead, which is the same in exact arithmetic and keeps all digits:

        x <- alpha / (1 - alpha) W (1 + x) / (1 + mean(x))

    Only differences of v are compared, and these are c times those of x.
    """
    deviation = np.zeros(graph.shape[0])
    for _ in range(n_iter):
        deviation = alpha / (1 - alpha) * (graph @ (1 + deviation)) / (1 + deviation.mean())
    # Images with equal neighbourhoods (copies) have equal values but for the last digits. These depend on the order of
    # additions and must not decide which image climbs to which.
    mantissa, exponent = np.frexp(deviation)
    rounded: Floats = np.ldexp(np.round(mantissa, DIGITS), exponent)
    return rounded


def climb(graph: Any, value: NDArray[Any]) -> Indices:
    """The cluster of each image: the local maximum that it climbs to (original: find_maxima_cluster).

    Image i points to the neighbour j with the largest W_ij (v_j - v_i), if that is above 0 (among equals to the first
    in the row), else to itself. An image that points to itself is the root of a cluster.

    Returns:
        (N,) int64, clusters in the order of their roots.
    """
    n_images = graph.shape[0]
    rows = np.repeat(np.arange(n_images), np.diff(graph.indptr))
    gain = graph.data * (value[graph.indices] - value[rows])
    linked = np.diff(graph.indptr) > 0  # rows with weights of 0 only are empty, which reduceat does not allow
    starts = graph.indptr[:-1][linked]
    target, largest = np.arange(n_images), np.zeros(n_images, dtype=gain.dtype)
    if len(starts) > 0:
        largest[linked] = np.maximum.reduceat(gain, starts)
        best = np.where(gain == largest[rows], graph.indices, n_images)
        target[linked] = np.where(largest[linked] > 0, np.minimum.reduceat(best, starts), target[linked])
    # Pointers lead strictly upwards, so there are no cycles. Each round doubles the length of the jumps.
    while not np.array_equal(target, target[target]):
        target = target[target]
    return np.unique(target, return_inverse=True)[1].astype(np.int64)


def join_lone(labels: Indices, neighbours: Indices) -> Indices:
    """An image alone in its cluster joins that of its nearest neighbour that is not alone, if it has such a neighbour.

    An image counts as alone if it was alone before any image joined another (original: distribute_singletons).

    Returns:
        (N,) int64, numbered without gaps, clusters in their old order.
    """
    alone = np.bincount(labels)[labels] == 1
    lone = np.flatnonzero(alone)
    company = ~alone[neighbours[lone]]
    first = neighbours[lone, company.argmax(axis=1)]
    joined = labels.copy()
    joined[lone] = np.where(company.any(axis=1), labels[first], labels[lone])
    return np.unique(joined, return_inverse=True)[1].astype(np.int64)
