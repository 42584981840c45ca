"""Numbers that compare two labelings of the same images, such as clusters and true labels. Pure functions."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score
from torch import Tensor

AVERAGES = ("arithmetic", "geometric")  # NMI divides by this mean of the two entropies
LARGEST_EXACT_MATCHING = 5000  # clusters: the Hungarian algorithm takes a second; its time grows with the cube
SMALL_TABLE = 2**20  # cells: up to here all are counted, even where there are fewer images
CELLS_AT_ONCE = 2**16  # that the greedy matching turns into Python lists
LARGEST_AMI_TABLE = 1_000_000  # clusters x classes; above it AMI's expected value takes minutes


def _joint(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, int, int]:
    """The non-zero cells of two labelings' contingency table.

    Returns:
        Each cell's row, column and count; the numbers of rows and columns. Only labels that occur have one.
    """
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise ValueError(f"two labelings of the same images are needed, got {tuple(a.shape)} and {tuple(b.shape)}")
    values_a, rows = torch.unique(a.cpu().long(), return_inverse=True)
    values_b, columns = torch.unique(b.cpu().long(), return_inverse=True)
    cells, counts = torch.unique(rows * len(values_b) + columns, return_counts=True)
    return cells // len(values_b), cells % len(values_b), counts, len(values_a), len(values_b)


def _entropy(counts: Tensor) -> float:
    """Entropy in nats of the distribution that the counts describe."""
    shares = counts[counts > 0].double() / counts.sum()
    return -(shares * shares.log()).sum().item()


def nmi(a: Tensor, b: Tensor, average: str = "arithmetic") -> float:
    """Mutual information of two labelings (N,), divided by the mean of their entropies; 1 if both are constant.

    Args:
        average: "arithmetic" mean, scikit-learn's default since 0.22; or "geometric", its default in 2018, which
            gives an equal or larger NMI. Do not compare NMI values of different means.
    """
    assert average in AVERAGES, average
    rows, columns, counts, n_rows, n_columns = _joint(a, b)
    entropy_a = _entropy(torch.zeros(n_rows, dtype=torch.int64).index_add_(0, rows, counts))
    entropy_b = _entropy(torch.zeros(n_columns, dtype=torch.int64).index_add_(0, columns, counts))
    return _normalised(entropy_a, entropy_b, _entropy(counts), average)


def mean_pairwise_nmi(labelings: Tensor, average: str = "arithmetic") -> float:
    """How much S labelings (S, N) of the same images agree: the mean of :func:`nmi` over all pairs.

    Raises:
        ValueError: with fewer than two labelings.
    """
    assert average in AVERAGES, average
    if labelings.ndim != 2 or len(labelings) < 2:
        raise ValueError(f"agreement needs two or more labelings (S, N), got {tuple(labelings.shape)}")
    rows = [np.unique(row.cpu().numpy(), return_inverse=True)[1] for row in labelings]
    sizes = [int(row.max()) + 1 for row in rows]
    entropies = [_entropy(torch.from_numpy(np.bincount(row))) for row in rows]
    total = 0.0
    for i, j in itertools.combinations(range(len(rows)), 2):
        # There may be thousands of pairs, so a pair is counted in one pass, without nmi()'s sorting. Only where the
        # table of all cells would be larger than the labelings, sorting is cheaper.
        cells = rows[i] * sizes[j] + rows[j]
        is_small = sizes[i] * sizes[j] <= max(len(cells), SMALL_TABLE)
        counts = np.bincount(cells) if is_small else np.unique(cells, return_counts=True)[1]
        total += _normalised(entropies[i], entropies[j], _entropy(torch.from_numpy(counts)), average)
    return total / (len(rows) * (len(rows) - 1) / 2)


def _normalised(entropy_a: float, entropy_b: float, joint: float, average: str) -> float:
    """NMI from the entropies of two labelings and of their pairs."""
    if entropy_a + entropy_b == 0:
        return 1.0
    mean = (entropy_a + entropy_b) / 2 if average == "arithmetic" else math.sqrt(entropy_a * entropy_b)
    if mean == 0:
        return 0.0  # one of the two is constant: no mutual information
    return min(1.0, max(0.0, (entropy_a + entropy_b - joint) / mean))


def ami(a: Tensor, b: Tensor) -> float:
    """Mutual information adjusted for chance, arithmetic mean (scikit-learn)."""
    return float(adjusted_mutual_info_score(a.cpu().numpy(), b.cpu().numpy(), average_method="arithmetic"))


def ari(a: Tensor, b: Tensor) -> float:
    """Adjusted Rand index (scikit-learn: torchmetrics 1.9 overflows at 100,000 images)."""
    return float(adjusted_rand_score(a.cpu().numpy(), b.cpu().numpy()))


def purity(labels_true: Tensor, clusters: Tensor) -> float:
    """Share of the images whose label is the commonest one of their cluster."""
    _, columns, counts, _, n_clusters = _joint(labels_true, clusters)
    commonest = torch.zeros(n_clusters, dtype=counts.dtype).scatter_reduce_(0, columns, counts, "amax")
    return commonest.sum().item() / len(clusters)


def majority_classes(labels_true: Tensor, clusters: Tensor, k: int) -> Tensor:
    """Each cluster's commonest label, (k,) int64: the smallest of equally common ones, -1 if no image has a label.

    Args:
        labels_true: (N,), -1 for images without a label, which are not counted.
        clusters: (N,) in 0..k-1; -1 for images in no cluster, which are not counted.
    """
    return label_shares(labels_true, clusters, k)[0]


def label_shares(labels_true: Tensor, clusters: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """:func:`majority_classes`, and the share (k,) of each cluster's labelled images that have that label.

    The share is 0 in clusters without labelled images.
    """
    known = (labels_true.cpu() >= 0) & (clusters.cpu() >= 0)
    labels, clusters = labels_true.cpu()[known].long(), clusters.cpu()[known].long()
    if len(labels) == 0:
        return torch.full((k,), -1), torch.zeros(k, dtype=torch.float64)
    n_classes = int(labels.max()) + 1
    table = torch.bincount(clusters * n_classes + labels, minlength=k * n_classes).view(k, n_classes)
    most = table.max(dim=1)
    shares = most.values.double() / table.sum(dim=1).clamp_min(1)
    return torch.where(most.values > 0, most.indices, -1), shares


def many_to_one_accuracy(labels_true: Tensor, clusters: Tensor, classes: Tensor) -> float:
    """Accuracy of predicting each image's label by its cluster's class.

    With the :func:`majority_classes` of the same images it equals :func:`purity`. With those of other images it is
    a classifier's test accuracy. A cluster without a class (-1) is always wrong.

    Args:
        labels_true: (N,), without -1.
        clusters: (N,) in 0..K-1.
        classes: (K,), as :func:`majority_classes` gives them.
    """
    return float((classes[clusters.cpu()] == labels_true.cpu()).double().mean())


def one_to_one_accuracy(labels_true: Tensor, clusters: Tensor) -> float:
    """Accuracy of the best one-to-one matching of clusters and labels (Hungarian algorithm)."""
    rows, columns, counts, n_rows, n_columns = _joint(labels_true, clusters)
    return _best_matching(rows, columns, counts, n_rows, n_columns) / len(clusters)


def moved_share(previous: Tensor, current: Tensor) -> float:
    """Share of the images (N,) that changed their cluster, where old and new clusters are matched one to one.

    The matching is the best one up to K = 5000; above, it is greedy (largest overlap first), which may count a few
    more images as moved.
    """
    rows, columns, counts, n_rows, n_columns = _joint(previous, current)
    if max(n_rows, n_columns) <= LARGEST_EXACT_MATCHING:
        n_stayed = _best_matching(rows, columns, counts, n_rows, n_columns)
    else:
        n_stayed = sum(count for _, _, count in greedy_matching(rows, columns, counts))
    return 1 - n_stayed / len(current)


def _best_matching(rows: Tensor, columns: Tensor, counts: Tensor, n_rows: int, n_columns: int) -> int:
    table = np.zeros((n_rows, n_columns), dtype=np.int32)
    table[rows.numpy(), columns.numpy()] = counts.numpy()
    return int(table[linear_sum_assignment(table, maximize=True)].sum())


def greedy_matching(rows: Tensor, columns: Tensor, counts: Tensor) -> Iterator[tuple[int, int, int]]:
    """Pairs (row, column, count) of a contingency table's cells, largest count first, each row and column once."""
    order = torch.argsort(counts, descending=True, stable=True)
    taken_rows = np.zeros(int(rows.max()) + 1, dtype=bool)
    taken_columns = np.zeros(int(columns.max()) + 1, dtype=bool)
    for part in torch.split(order, CELLS_AT_ONCE):  # millions of cells as lists would take gigabytes
        cells = [array[part].numpy() for array in (rows, columns, counts)]
        is_free = ~(taken_rows[cells[0]] | taken_columns[cells[1]])
        for row, column, count in zip(*(array[is_free].tolist() for array in cells), strict=True):
            if not (taken_rows[row] or taken_columns[column]):
                taken_rows[row] = taken_columns[column] = True
                yield row, column, count


def size_statistics(labels: Tensor, k: int) -> dict[str, int | float]:
    """How evenly labels (N,) in 0..k-1 fill the clusters.

    Returns:
        clusters_used: clusters that hold an image.
        largest_share: share of the images in the largest cluster.
        entropy: of the sizes, divided by ln k: 1 if all are equal, 0 if one cluster holds all images.
        perplexity: the number of clusters of equal size that have the same entropy.
    """
    sizes = torch.bincount(labels.cpu(), minlength=k)
    return {
        "clusters_used": int((sizes > 0).sum()),
        "largest_share": sizes.max().item() / len(labels),
        "entropy": _entropy(sizes) / math.log(k) if k > 1 else 1.0,
        "perplexity": math.exp(_entropy(sizes)),
    }


def label_metrics(clusters: Tensor, labels: Tensor, average: str = "arithmetic") -> dict[str, float]:
    """How well clusters (N,) agree with true labels (N,); images that are -1 in either are left out.

    Args:
        average: of NMI, see :func:`nmi`; AMI always takes the arithmetic mean.

    Returns:
        nmi_labels, ami_labels (absent if clusters x classes > 1e6), ari_labels, purity, one_to_one_accuracy (absent
        if there are more than 5000 clusters and more than 5000 classes). Empty if no image has a label.
    """
    known = (labels.cpu() >= 0) & (clusters.cpu() >= 0)
    clusters, labels = clusters.cpu()[known], labels.cpu()[known]
    if len(labels) == 0:
        return {}
    metrics = {"nmi_labels": nmi(clusters, labels, average)}
    n_clusters, n_classes = len(torch.unique(clusters)), len(torch.unique(labels))
    if n_clusters * n_classes <= LARGEST_AMI_TABLE:
        metrics["ami_labels"] = ami(clusters, labels)
    metrics |= {"ari_labels": ari(clusters, labels), "purity": purity(labels, clusters)}
    if min(n_clusters, n_classes) <= LARGEST_EXACT_MATCHING:
        metrics["one_to_one_accuracy"] = one_to_one_accuracy(labels, clusters)
    return metrics
