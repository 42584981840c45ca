"""NMI of k-means with as many clusters as classes: a figure of rows that does not depend on a run's K."""

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.metrics import nmi
from deepcluster.data.images import evenly_spaced
from deepcluster.evaluation.probe.whitened import leading_directions
from deepcluster.system.seeding import mix

N_SEEDS = 5  # one k-means more or less moves NMI by some hundredths
N_IMAGES = 10_000  # at most, or so many a class if that is more:
N_PER_CLASS = 20
LEADING = 64  # components, or two a cluster if that is more: 15 times faster than all 1600 of LeNet, NMI within 0.005


def nmi_of_class_clusters(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, *, seed: int, average: str = "arithmetic"
) -> float:
    """The mean over five seeds of the NMI of labels and k-means clusters of rows of length 1, K = number of classes.

    Images that chose nothing come first: at most 10,000 images (20 a class if that is more), the test images, filled
    up with training images.

    Args:
        train_x, test_x: rows (N, M) and (n, M), on one device, where the clustering runs.
        train_y, test_y: labels (N,) and (n,), none of them negative.
        average: see :func:`deepcluster.clustering.metrics.nmi`.
    """
    n_classes = len(torch.unique(torch.cat([train_y, test_y])))
    limit = max(N_IMAGES, N_PER_CLASS * n_classes)
    parts = []
    for x, y in ((test_x, test_y), (train_x, train_y)):
        chosen = torch.tensor(evenly_spaced(len(x), min(limit, len(x))), dtype=torch.int64, device=x.device)
        limit -= len(chosen)
        parts.append((F.normalize(x[chosen].float()), y[chosen].cpu()))
    rows, labels = (torch.cat(each) for each in zip(*parts, strict=True))
    k = len(torch.unique(labels))
    if k < 2:
        return 0.0  # one class: nothing to agree with
    kmeans, rows = KMeans(k=k), leading_components(rows, k, seed=seed)
    fits = (kmeans.fit(rows, seed=mix(seed, "classes", n), device=rows.device) for n in range(N_SEEDS))
    return sum(nmi(fit.labels, labels, average) for fit in fits) / N_SEEDS


def leading_components(rows: Tensor, k: int, *, seed: int) -> Tensor:
    """Rows (N, M) in the space of their first principal components, for k-means with K clusters; not whitened.

    Returns:
        (N, P), P = 64 or two a cluster; the centred rows themselves if M is no more.
    """
    dim = max(LEADING, 2 * k)
    centred = rows - rows.mean(dim=0)
    return centred if min(rows.shape) <= dim else centred @ leading_directions(centred, dim, seed=seed)
