"""Diffusion maps: rows (N, P) -> graph of neighbours -> coordinates (N, C). For spectral.py.

The graph joins each row with its nearest neighbours, with equal weights, so nothing depends on the scale of distances
(Maier, Hein and von Luxburg 2009 on such graphs). A step of the random walk on it goes from a row to one that is
joined with it. Rows from which walks of t steps end in the same places are near in the diffusion map (Coifman and
Lafon 2006, section 2): psi_j(x) = lambda_j^t v_j(x) / sqrt(degree(x)), with eigenvalues lambda_j and eigenvectors v_j
of D^-1/2 A D^-1/2. As Ng, Jordan and Weiss (2001) do, the coordinates of each row are brought to length 1.
"""

from collections.abc import Callable, MutableMapping
from dataclasses import replace

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import Tensor
from torch.nn import functional as F
from torch.utils.weak import WeakTensorKeyDictionary

from deepcluster.clustering import kmeans_torch
from deepcluster.clustering.assignment import Assignment, squared_distance
from deepcluster.clustering.neighbours import Indices, nearest_neighbours

DENSE = 300  # rows, up to which all eigenvectors are computed at once
TOLERANCE = 1e-4  # of eigenvalues; labels at 1e-8 were the same but for 1 image in 1,000
# Lanczos restarts, at most. Sets without many copies need 10 to 20. Where thousands of images have a dozen near copies
# each, as in films, many eigenvalues are almost 1 and it needs hundreds.
RESTARTS = 30

# Rows -> settings and their coordinates, as long as the rows are kept.
_made: MutableMapping[Tensor, tuple[tuple[object, ...], Tensor]] = WeakTensorKeyDictionary()


def same_for_all_labelings(rows: Tensor, make: Callable[[], Tensor], settings: tuple[object, ...]) -> Tensor:
    """What `make` gives for these rows under these settings: made once, for all labelings of the same rows.

    Args:
        rows: (N, P), which nobody changes in place.
    """
    known = _made.get(rows)
    if known is None or known[0] != settings:
        known = _made[rows] = (settings, make())
    return known[1]


@torch.no_grad()
def coordinates(rows: Tensor, *, n_neighbours: int, n_coordinates: int, time: float, engine: str) -> Tensor:
    """The diffusion map of rows, each of length 1.

    Args:
        rows: (N, P) float32, on the device that searches; N > n_neighbours.
        n_coordinates: C, at most; there are no more than N, nor than :func:`leading_eigenvectors` finds.
        time: steps t of the walk.
        engine: "faiss" or "torch", of the search for neighbours.

    Returns:
        (N, C) float32 on the CPU.
    """
    neighbours, _ = nearest_neighbours(rows, n_neighbours, backend=engine)
    walk, root = walk_of(adjacency(neighbours))
    values, vectors = leading_eigenvectors(walk, min(n_coordinates, len(rows)))
    psi = vectors * np.clip(values, 0, None) ** time * root[:, None]
    return F.normalize(torch.from_numpy(psi.astype(np.float32)))


def adjacency(neighbours: Indices) -> scipy.sparse.csr_matrix:
    """The symmetric graph of neighbours (N, n): weight 1 for each of the two that has the other among its own."""
    n_rows, n = neighbours.shape
    starts = np.repeat(np.arange(n_rows), n)
    directed = scipy.sparse.csr_matrix((np.ones(n_rows * n), (starts, neighbours.ravel())), shape=(n_rows, n_rows))
    return directed + directed.T


def walk_of(graph: scipy.sparse.csr_matrix) -> tuple[scipy.sparse.csr_matrix, NDArray[np.float64]]:
    """The random walk in its symmetric form, D^-1/2 A D^-1/2 (N, N), and D^-1/2 (N,)."""
    root = 1 / np.sqrt(np.asarray(graph.sum(axis=1)).ravel())
    return scipy.sparse.diags(root) @ graph @ scipy.sparse.diags(root), root


def leading_eigenvectors(matrix: scipy.sparse.csr_matrix, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The n largest eigenvalues (n,) of a symmetric matrix (N, N), largest first, and their eigenvectors (N, n).

    Of a large matrix perhaps fewer: those that are found within RESTARTS restarts, which bound the time.

    Raises:
        ValueError: if fewer than two are found.
    """
    n_rows = matrix.shape[0]
    if n_rows <= max(DENSE, 3 * n):
        values, vectors = np.linalg.eigh(matrix.toarray())
        return values[::-1][:n], vectors[:, ::-1][:, :n]
    start = np.random.default_rng(0).standard_normal(n_rows)  # Lanczos begins anywhere; fixed: nothing is random
    n_vectors = min(n_rows - 1, 2 * n + 20)
    try:
        values, vectors = eigsh(matrix, k=n, which="LA", tol=TOLERANCE, ncv=n_vectors, v0=start, maxiter=RESTARTS)
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
        if len(values) < 2:
            raise ValueError(
                f"the graph of neighbours has no {n} directions that can be told apart: its images hang together in "
                "long chains, as those of a film do; raise n_neighbours, or set clustering=kmeans and "
                "other_rows.n_neighbours=null"
            ) from error
    order = np.argsort(-values)
    return values[order], vectors[:, order]


def in_space_of(rows: Tensor, found: Assignment) -> Assignment:
    """The assignment with the means of its clusters' rows (N, P) as centroids, and the objective of k-means there.

    Clusters that are kept empty have the mean of all rows.
    """
    means, sizes = kmeans_torch.means(rows, found.labels, found.k)
    means = torch.where(sizes.view(-1, 1) > 0, means, rows.float().mean(dim=0))
    return replace(found, centroids=means, objective=squared_distance(rows, found.labels, means))
