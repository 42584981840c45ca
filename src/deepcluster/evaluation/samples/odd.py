"""Which pictures are least like the others, by statistics of the pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.clustering.backend import choose_backend
from deepcluster.clustering.neighbours import nearest_neighbours
from deepcluster.clustering.pca import FittedReduction
from deepcluster.clustering.reduction import Reduction
from deepcluster.evaluation.samples.limit import upper_limit
from deepcluster.system.tables import write_csv

FEWEST_USUAL = 3  # pictures that tell what is usual
DIM = 10
IMAGES_PER_DIM = 10  # at least
NEIGHBOUR = 50  # fewer pictures of one kind are strangers, more are a kind of their own
SHARE = 0.2  # of the pictures, at most so many neighbours
ROUNDS, KEPT = 2, 0.95  # of fitting again without the oddest: many strangers would make a direction of their own
NUMBERS_AT_ONCE = 2**24  # distances: 64 MB
LEAST_VARIANCE = 1e-3  # of the largest: grey pictures have no colours to differ in
COLUMNS = ("sample", "score", "rank", "odd")


def odd_scores(statistics: Tensor) -> Tensor:
    """How odd each picture is, (N,) float32: 1 is usual, 2 twice as far from the others.

    The geometric mean of two numbers: the distance to the 50th neighbour divided by its median over all pictures, and
    divided by its mean over the neighbours (as the local outlier factor of Breunig et al. 2000, so that a sparse kind
    is not odd as a whole). Distances are in the first 10 principal components of the statistics, each of unit
    variance; these are fitted to the 95 % of the pictures that are nearest to their mean.

    Args:
        statistics: (N, M), from :func:`~deepcluster.evaluation.samples.statistics.picture_statistics`.
    """
    if len(statistics) < FEWEST_USUAL:
        return torch.ones(len(statistics))
    return Usual.of(statistics).scores


@dataclass(kw_only=True)
class Usual:
    """What is usual among N pictures, so that others can be compared with them.

    Args:
        whitening: brings statistics (B, M) to rows (B, P).
        rows: (N, P) of the pictures.
        distances: (N,) to the 50th neighbour.
        scores: (N,) how odd each is, see :func:`odd_scores`.
    """

    whitening: "Whitening"
    rows: Tensor
    distances: Tensor
    scores: Tensor

    @classmethod
    def of(cls, statistics: Tensor) -> "Usual":
        """Of at least three pictures, by their statistics (N, M)."""
        n = len(statistics)
        whitening = Whitening.of(statistics)
        for _ in range(ROUNDS):
            kept = torch.argsort(whitening.rows(statistics).norm(dim=1), stable=True)[: max(3, int(KEPT * n))]
            whitening = Whitening.of(statistics[kept.sort().values])
        rows = whitening.rows(statistics)
        neighbours, squares = nearest_neighbours(rows, _n_neighbours(n), backend=choose_backend("auto", "cpu")[0])
        distances = torch.from_numpy(squares[:, -1].copy()).sqrt().float().clamp(min=1e-6)
        of_neighbours = distances[torch.from_numpy(neighbours.copy())].mean(dim=1)
        scores = distances / (distances.median() * of_neighbours).sqrt()
        return cls(whitening=whitening, rows=rows, distances=distances, scores=scores)

    def scores_of(self, statistics: Tensor) -> Tensor:
        """How odd other pictures are among these, (B,) float32, by their statistics (B, M)."""
        scores, k = torch.empty(len(statistics)), _n_neighbours(len(self.rows))
        for part in torch.split(torch.arange(len(statistics)), max(1, NUMBERS_AT_ONCE // len(self.rows))):
            nearest = torch.cdist(self.whitening.rows(statistics[part]), self.rows).topk(k, dim=1, largest=False)
            of_neighbours = self.distances[nearest.indices].mean(dim=1)
            farthest = nearest.values[:, -1].clamp(min=1e-6)
            scores[part] = farthest / (self.distances.median() * of_neighbours).sqrt()
        return scores

    def fits(self, statistics: Tensor) -> Tensor:
        """(B,) bool: whether other pictures are no odder than is usual among these."""
        return self.scores_of(statistics) <= upper_limit(self.scores)


@dataclass(kw_only=True)
class Whitening:
    """Brings statistics to principal components of unit variance: mean and deviation (M,), then the reduction."""

    mean: Tensor
    deviation: Tensor
    reduction: FittedReduction

    @classmethod
    def of(cls, statistics: Tensor) -> "Whitening":
        """Fitted to some pictures, by their statistics (n, M)."""
        mean, deviation = statistics.mean(dim=0), statistics.std(dim=0).clamp(min=1e-6)
        scaled = (statistics - mean) / deviation
        dim = min(DIM, scaled.shape[1], max(1, len(scaled) // IMAGES_PER_DIM))
        reduction = Reduction(dim=dim, whiten=True, l2=False, epsilon=LEAST_VARIANCE, fit_images=None)
        return cls(mean=mean, deviation=deviation, reduction=reduction.fit_rows(scaled))

    def rows(self, statistics: Tensor) -> Tensor:
        """(B, M) -> (B, P)."""
        return self.reduction.apply((statistics - self.mean) / self.deviation)


def _n_neighbours(n: int) -> int:
    return min(NEIGHBOUR, max(1, int(SHARE * n)))


def write_odd(path: Path, samples: Sequence[str], scores: Tensor) -> int:
    """Write odd.csv, the oddest first, `odd` true of those above the limit.

    Returns:
        How many these are.
    """
    limit = upper_limit(scores)

    def lines() -> Iterator[list[object]]:
        order = torch.argsort(scores, descending=True, stable=True)
        for rank, (image, score) in enumerate(zip(order.tolist(), scores[order].tolist(), strict=True), 1):
            yield [samples[image], f"{score:.4f}", rank, "true" if score > limit else "false"]

    write_csv(path, COLUMNS, lines())
    return int((scores > limit).sum())
