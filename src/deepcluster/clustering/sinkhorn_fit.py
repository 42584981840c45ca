"""Scores (N, K) -> Assignment of about equal sizes, by Sinkhorn-Knopp. Next: its labels are trained on."""

from collections.abc import Callable

import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment, sum_dtype
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.repair import count_empty
from deepcluster.clustering.share import Share
from deepcluster.clustering.sinkhorn import annealed_potentials


@torch.no_grad()
def fit(
    scores: Tensor,
    *,
    n_images: int,
    ranks: Ranks | None,
    epsilon: float,
    n_halvings: int,
    n_iter: int,
    tolerance: float,
    device: torch.device | str,
    progress: Callable[[int, int], None] | None,
) -> Assignment:
    """Label all images in this process, or together with others; the settings are those of :class:`Sinkhorn`.

    Args:
        scores: (n, K), larger is better: of all images, or with `ranks` those of the images ``[rank::G]``.
        n_images: N, on all processes together.
        ranks: what the G processes offer, each of which calls this; None: this process has all images.

    Returns:
        An assignment of all N images on the CPU, the same on every process. Its centroids are the unit vectors of the
        scores' space, so that the nearest centroid of a new image is its largest score; the objective is minus the sum
        of the images' scores at their labels, with log-probabilities the cross-entropy.

    Raises:
        ValueError: if a score is NaN or infinite.
    """
    share, k = Share(scores.detach(), n_images, ranks or Ranks(), torch.device(device)), scores.shape[1]
    share.check()

    n_updates = (n_halvings + 1) * n_iter
    potentials = annealed_potentials(
        lambda: (block for _, block in share.blocks(share.score_rows(k))),
        k,
        share.device,
        epsilon=epsilon,
        n_halvings=n_halvings,
        n_iter=n_iter,
        tolerance=tolerance,
        ranks=share.ranks,
        progress=None if progress is None else lambda done: progress(done, n_updates),
    )
    labels = share.labels(lambda block: (block + potentials).argmax(dim=1), k, share.score_rows(k))
    mine = labels[share.ranks.rank :: share.ranks.size].to(share.device)

    def cost() -> list[Tensor]:
        total = torch.zeros(1, dtype=sum_dtype(share.device), device=share.device)
        for first, block in share.blocks(share.score_rows(k)):
            total -= block.gather(1, mine[first : first + len(block), None]).sum(dtype=total.dtype)
        return [total]

    centroids = torch.eye(k)
    return Assignment(
        labels=labels,
        k=k,
        objective=share.ranks.summed(cost)[0].item(),
        centroids=centroids,
        n_unused=count_empty(labels, centroids),
    )
