"""Soft labels: the few centroids that are nearest to each image, with shares. Next: training/targets.py learns them."""

import torch
from torch import Tensor

from deepcluster.clustering.assignment import SoftLabels, over_scores
from deepcluster.clustering.ranks import Ranks


@torch.no_grad()
def soft_labels(
    rows: Tensor, centroids: Tensor, *, temperature: float, n_kept: int, n_images: int, ranks: Ranks | None = None
) -> SoftLabels:
    """The responsibilities of soft k-means, exp(-|x - c|^2 / 2T) over their sum, of each image's nearest centroids.

    For rows and centroids of length 1 they are softmax(cosine / T). As T goes to 0, the nearest centroid takes all.
    Of K centroids only the n_kept nearest are kept, and share the whole among them, so that no matrix (N, K) exists.

    Args:
        rows: (N, P) as they were clustered, perhaps mapped from a file; with `ranks` those of the images ``[rank::G]``.
        centroids: (K, P), on the device that computes.
        temperature: T, the variance of a cluster along each direction.
        n_kept: M, at most K are kept.
        n_images: N.
        ranks: what the G processes offer, each of which calls this; None: this process has all images.

    Source: MacKay 2003, Information Theory, Inference, and Learning Algorithms, algorithms 20.7 and 22.2.
    """
    n_kept = min(n_kept, len(centroids))

    def own() -> list[Tensor]:
        numbers = torch.empty(len(rows), n_kept, dtype=torch.int32)
        shares = torch.empty(len(rows), n_kept)

        def keep(block: slice, scores: Tensor) -> None:  # x.c - |c|^2 / 2 is -|x - c|^2 / 2, but for |x|^2
            nearest = scores.topk(n_kept, dim=1)
            numbers[block] = nearest.indices.int().cpu()
            shares[block] = ((nearest.values - nearest.values[:, :1]) / temperature).softmax(dim=1).cpu()

        over_scores(rows, centroids, keep)
        if ranks is None:
            return [numbers, shares]
        placed = []
        for mine in (numbers, shares):  # each process adds zeros for the others' images
            of_all = torch.zeros(n_images, n_kept, dtype=mine.dtype)
            of_all[ranks.rank :: ranks.size] = mine
            placed.append(of_all)
        return placed

    return SoftLabels(*(own() if ranks is None else ranks.summed(own)))
