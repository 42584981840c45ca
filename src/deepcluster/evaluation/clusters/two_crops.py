"""Figures of a network that need no labels: does it see that two random crops are of the same picture?"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.metrics import nmi
from deepcluster.data.images import ImageSet, evenly_spaced
from deepcluster.data.loader import random_batches
from deepcluster.data.multi_crop import MultiCrop
from deepcluster.data.views import TrainView
from deepcluster.evaluation.clusters.class_clusters import leading_components
from deepcluster.evaluation.probe.whitened import whitened
from deepcluster.system.seeding import mix

N_IMAGES = 2000  # at most; the more there are, the harder is the nearest of all crops to find
CROPS_PER_CLUSTER = 10  # at least, on average
FEWEST = 10  # images
ROWS_AT_ONCE = 1000


@torch.no_grad()
def two_crop_rows(
    network: Callable[[Tensor], Tensor],
    images: ImageSet,
    crop: TrainView,
    *,
    batch_size: int,
    num_workers: int,
    device: torch.device,
    seed: int,
) -> Tensor:
    """Rows (2, n, M) of two random crops of at most 2,000 images; the same seed gives the same crops.

    Args:
        network: crops (B, C, S, S) -> rows (B, M).
        crop: the training view.
    """
    indices = torch.tensor(evenly_spaced(len(images), min(N_IMAGES, len(images))))
    twice = MultiCrop([crop, crop], 2)
    parts = []
    for batch in random_batches(images, twice, indices, batch_size, num_workers, seed=mix(seed, "two crops")):
        crops = twice(batch.images.to(device), batch.draws)
        parts.append(torch.stack([network(each).float().flatten(1).cpu() for each in crops]))
    return torch.cat(parts, dim=1)


def two_crop_figures(rows: Tensor, k: int, *, seed: int, average: str = "arithmetic") -> dict[str, float]:
    """How near the two crops of a picture are; empty for fewer than ten pictures.

    Args:
        rows: (2, n, M), from :func:`two_crop_rows`.
        k: clusters of the run; fewer are taken where there are less than ten crops a cluster.
        average: see :func:`deepcluster.clustering.metrics.nmi`.

    Returns:
        crops_nearest: share of the crops whose nearest neighbour (cosine), among the 2 n - 1 others, is the other crop
            of their picture.
        crops_nearest_whitened: the same of rows whose first 128 principal components are whitened. A few directions of
            large variance decide about cosines of plain rows; an untrained network's follow the colours of a picture,
            by which its other crop is found while its kind is not.
        crops_together: share of the pictures whose two crops fall in one cluster of k-means on all crops, mean of two
            seeds. With one cluster it would be 1: read it beside the number of clusters.
        seeds_agree: NMI of these two seeds' clusters.
    """
    n = rows.shape[1]
    if n < FEWEST:
        return {}
    both = rows.flatten(0, 1)
    crops = F.normalize(both)
    kmeans = KMeans(k=max(2, min(k, 2 * n // CROPS_PER_CLUSTER)))
    reduced = leading_components(crops, kmeans.only_k, seed=seed)
    one, two = (kmeans.fit(reduced, seed=mix(seed, "two crops", number)).labels for number in (0, 1))
    together = [float((labels[:n] == labels[n:]).double().mean()) for labels in (one, two)]
    return {
        "crops_nearest": _share_nearest(crops),
        "crops_nearest_whitened": _share_nearest(F.normalize(whitened(both, both[:0], seed=seed)[0])),
        "crops_together": sum(together) / 2,
        "seeds_agree": nmi(one, two, average),
    }


def _share_nearest(crops: Tensor) -> float:
    """The share of rows of length 1, first crops (n, M) above second ones, whose nearest one is the other crop."""
    n_nearest, n = 0, len(crops) // 2
    for first in range(0, 2 * n, ROWS_AT_ONCE):
        cosines = crops[first : first + ROWS_AT_ONCE] @ crops.T
        own = torch.arange(len(cosines))
        cosines[own, first + own] = -torch.inf
        n_nearest += int((cosines.argmax(dim=1) == (first + own + n) % (2 * n)).sum())
    return n_nearest / (2 * n)
