"""The last assignment of k-means with clusters of about equal size, by Sinkhorn-Knopp. Next: kmeans_fit.py."""

import torch
from torch import Tensor

from deepcluster.clustering.assignment import sum_dtype
from deepcluster.clustering.share import Share
from deepcluster.clustering.sinkhorn import annealed_potentials
from deepcluster.system.processor import float32_products

EPSILON = 0.001  # of the scores below: nearly hard
N_HALVINGS, N_ITER, TOLERANCE = 7, 30, 0.01  # see annealed_potentials


@torch.no_grad()
def balanced_labels(share: Share, centroids: Tensor) -> Tensor:
    """Labels (N,) int64 on the CPU, the same on every process, that use the centroids (K, P) about equally often.

    The scores are minus the squared distances, divided by their mean over all images and centroids. Equal images get
    equal labels, so many copies of one image stay in one cluster.
    """
    k = len(centroids)
    offset, scale = centroids.square().sum(dim=1), _mean_squared_distance(share, centroids)

    def scores(rows: Tensor) -> Tensor:
        """Without the rows' own squared lengths, which change nothing within a row."""
        with float32_products(share.device):
            return (2 * rows @ centroids.T - offset) / scale

    potentials = annealed_potentials(
        lambda: (scores(block) for _, block in share.blocks(share.score_rows(k))),
        k,
        share.device,
        epsilon=EPSILON,
        n_halvings=N_HALVINGS,
        n_iter=N_ITER,
        tolerance=TOLERANCE,
        ranks=share.ranks,
    )
    return share.labels(lambda block: (scores(block) + potentials).argmax(dim=1), k, share.score_rows(k))


def _mean_squared_distance(share: Share, centroids: Tensor) -> float:
    """Over all images and centroids: the mean of |x|^2 and of |c|^2, minus 2 mean(x).mean(c)."""
    dtype = sum_dtype(share.device)

    def sums() -> list[Tensor]:
        total = torch.zeros(share.dim, dtype=dtype, device=share.device)
        squares = torch.zeros(1, dtype=dtype, device=share.device)
        for _, block in share.blocks():
            total += block.sum(dim=0, dtype=dtype)
            squares += block.square().sum(dtype=dtype)
        return [total, squares]

    total, squares = share.ranks.summed(sums)
    of_centroids = centroids.square().sum(dim=1, dtype=dtype).mean()
    mean = squares / share.n_images + of_centroids - 2 * (total / share.n_images) @ centroids.mean(dim=0).to(dtype)
    return max(float(mean), torch.finfo(torch.float32).tiny)
