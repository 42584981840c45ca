"""Which pictures are least like the others, by statistics of the pictures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.clustering.backend import choose_backend
from deepcluster.clustering.neighbours import nearest_neighbours
from deepcluster.clustering.reduction import Reduction
from deepcluster.system.tables import write_csv

DIM = 10
IMAGES_PER_DIM = 10  # at least
NEIGHBOUR = 50  # fewer pictures of one kind are strangers, more are a kind of their own
SHARE = 0.2  # of the pictures, at most so many neighbours
ROUNDS, KEPT = 2, 0.95  # of fitting again without the oddest: many strangers would make a direction of their own
LEAST_VARIANCE = 1e-3  # of the largest: grey pictures have no colours to differ in
COLUMNS = ("sample", "score", "rank")


def odd_scores(statistics: Tensor) -> Tensor:
    """How odd each picture is, (N,) float32: 1 is usual, 2 twice as far from the others.

    The geometric mean of two numbers: the distance to the 50th neighbour divided by its median over all pictures, and
    divided by its mean over the neighbours (as the local outlier factor of Breunig et al. 2000, so that a sparse kind
    is not odd as a whole). Distances are in the first 10 principal components of the statistics, each of unit
    variance; these are fitted to the 95 % of the pictures that are nearest to their mean.

    Args:
        statistics: (N, M), from :func:`~deepcluster.evaluation.samples.statistics.picture_statistics`.
    """
    n = len(statistics)
    if n < 3:
        return torch.ones(n)
    rows = _whitened(statistics, torch.arange(n))
    for _ in range(ROUNDS):
        kept = torch.argsort(rows.norm(dim=1), stable=True)[: max(3, int(KEPT * n))].sort().values
        rows = _whitened(statistics, kept)
    k = min(NEIGHBOUR, max(1, int(SHARE * n)))
    neighbours, squares = nearest_neighbours(rows, k, backend=choose_backend("auto", "cpu")[0])
    distances = torch.from_numpy(squares[:, -1].copy()).sqrt().float().clamp(min=1e-6)
    of_neighbours = distances[torch.from_numpy(neighbours.copy())].mean(dim=1)
    return distances / (distances.median() * of_neighbours).sqrt()


def _whitened(statistics: Tensor, kept: Tensor) -> Tensor:
    """Principal components of unit variance (N, P), of the kept ones."""
    usual = statistics[kept]
    scaled = (statistics - usual.mean(dim=0)) / usual.std(dim=0).clamp(min=1e-6)
    dim = min(DIM, scaled.shape[1], max(1, len(kept) // IMAGES_PER_DIM))
    whitening = Reduction(dim=dim, whiten=True, l2=False, epsilon=LEAST_VARIANCE, fit_images=None)
    return whitening.fit_rows(scaled[kept]).apply(scaled)


def write_odd(path: Path, samples: Sequence[str], scores: Tensor) -> None:
    """Write odd.csv, the oddest first."""

    def lines() -> Iterator[list[object]]:
        order = torch.argsort(scores, descending=True, stable=True)
        for rank, (image, score) in enumerate(zip(order.tolist(), scores[order].tolist(), strict=True), 1):
            yield [samples[image], f"{score:.4f}", rank]

    write_csv(path, COLUMNS, lines())
