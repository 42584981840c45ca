"""The n nearest neighbours of every row among all rows, by exact search. Next: pic_graph.py makes a graph of them.

faiss or torch searches by float32 products; of equally near rows the first is taken. The distances are then computed
again in float64, from differences, and sorted. So engine and number of threads do not change the result, except where
float32 cannot tell which of two rows is the n-th nearest.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepcluster.clustering.faiss_index import FlatIndex
from deepcluster.system.processor import float32_products, rows_per_block

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

LEAST_QUERIES = 500  # rows to search for at once: fewer would not use all threads
SCORES_PER_BLOCK = 2**25  # 128 MB of float32 scores at a time, in torch
SCORES_PER_GPU_BLOCK = 2**28  # 1 GB: a GPU is fastest with few large products
TIED_ROWS = 64  # rows with equal scores at the n-th place, worked on at a time
ROWS_PER_BLOCK = 2048  # 25 MB of float64 differences for 6 neighbours in 256 dimensions


@torch.no_grad()
def nearest_neighbours(
    features: Tensor,
    n: int,
    *,
    backend: str,
    drop_first: bool = False,
    n_steps: int = 100,
    progress: Callable[[], None] | None = None,
) -> tuple[Indices, Floats]:
    """The n nearest other rows of each row, nearest first, the lower index first among equally near ones.

    Args:
        features: (N, P) float32, on the device that searches; N > n.
        backend: "faiss" or "torch".
        drop_first: drop the first of n + 1 neighbours, as the 2018 code does, which takes it for the row itself. Among
            equal rows it may be another one; the row is then its own neighbour. By default the row itself is dropped.
        n_steps: the number of times that progress is called.
        progress: called after each part of the search.

    Returns:
        indices (N, n) int64 and squared distances (N, n) float64.
    """
    assert len(features) > n
    search = _faiss_search(features) if backend == "faiss" else _torch_search(features)
    parts, start = [], 0
    for step in range(1, n_steps + 1):
        stop = len(features) * step // n_steps
        if stop - start >= LEAST_QUERIES or step == n_steps:
            parts.append(search(features[start:stop], n + 1))
            start = stop
        if progress is not None:
            progress()
    return _ordered(features.cpu().numpy(), np.concatenate(parts), drop_first=drop_first)


def _faiss_search(features: Tensor) -> Callable[[Tensor, int], Indices]:
    index = FlatIndex(features.shape[1], features.device)
    index.fill(features)
    return lambda queries, n: index.search(queries, n).cpu().numpy()


def _torch_search(features: Tensor) -> Callable[[Tensor, int], Indices]:
    offset = -0.5 * features.square().sum(dim=1)  # |x - y|^2 is smallest where x.y - |y|^2 / 2 is largest
    n_rows = rows_per_block(len(features), features.device, on_cpu=SCORES_PER_BLOCK, on_gpu=SCORES_PER_GPU_BLOCK)

    def search(queries: Tensor, n: int) -> Indices:
        with float32_products(features.device):
            columns = [_first(torch.addmm(offset, rows, features.T), n) for rows in torch.split(queries, n_rows)]
        return torch.cat(columns).cpu().numpy()

    return search


def _first(scores: Tensor, n: int) -> Tensor:
    """The columns of the n largest scores of each row, in any order. Of equal scores the first; topk takes any."""
    if n == scores.shape[1]:
        return torch.arange(n, device=scores.device).expand(len(scores), n)
    values, columns = scores.topk(n + 1)  # one more, to see whether the n-th has an equal
    columns, least = columns[:, :n], values[:, n - 1 : n]
    tied = torch.nonzero(values[:, n] == values[:, n - 1]).flatten()
    for part in torch.split(tied, TIED_ROWS):
        higher, equal = scores[part] > least[part], scores[part] == least[part]
        n_equal = n - higher.sum(dim=1, keepdim=True)
        first = equal & (equal.cumsum(dim=1, dtype=torch.int32) <= n_equal)
        columns[part] = torch.nonzero(higher | first)[:, 1].view(-1, n)
    return columns


def _ordered(features: NDArray[np.float32], neighbours: Indices, *, drop_first: bool) -> tuple[Indices, Floats]:
    """Exact distances of n + 1 neighbours (N, n + 1), sorted, without the row itself."""
    distances = np.empty(neighbours.shape)
    for start in range(0, len(features), ROWS_PER_BLOCK):
        block = slice(start, start + ROWS_PER_BLOCK)
        differences = features[block, None, :].astype(np.float64) - features[neighbours[block]]
        distances[block] = np.square(differences).sum(axis=2)
    order = np.lexsort((neighbours, distances))
    neighbours, distances = np.take_along_axis(neighbours, order, 1), np.take_along_axis(distances, order, 1)
    if drop_first:
        return neighbours[:, 1:], distances[:, 1:]
    is_self = neighbours == np.arange(len(neighbours))[:, None]
    is_self[~is_self.any(axis=1), -1] = True  # among more equal rows than n + 1 it may be missing: drop the last
    shape = (len(neighbours), neighbours.shape[1] - 1)
    return neighbours[~is_self].reshape(shape), distances[~is_self].reshape(shape)
