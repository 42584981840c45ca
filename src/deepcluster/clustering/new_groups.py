"""Which new rows lie among each other, where there were few rows before. run/new_groups.py makes clusters of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepcluster.clustering.backend import choose_backend
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.neighbours import nearest_neighbours

N_NEIGHBOURS = 20
SHARE = 0.5  # of a row's neighbours that must be new
TIMES = 4.0  # the odds of a neighbour being new, over those of any row
MOST_NEW = 0.7  # of the rows: where more are new, all neighbours of a row may be new by chance
LEAST = 5  # rows of a group


def new_groups(rows: Tensor, is_new: Tensor, sizes: Sequence[int], *, seed: int) -> Tensor:
    """The group (N,) int64 of each row, -1 for none: of the old ones, and of new ones whose neighbours are not new.

    A new row is a candidate if at least half of its 20 nearest neighbours are new, and more than chance gives: the odds
    are four times those of all rows. Candidates are clustered into as many groups as clusters of the median size they
    fill; groups that are smaller than most clusters (their lower quartile) are none.

    Args:
        rows: (N, P) float32, old and new.
        is_new: (N,) bool.
        sizes: of the clusters of the old rows.
    """
    n, n_new = len(rows), int(is_new.sum())
    groups = torch.full((n,), -1)
    counts = torch.tensor([float(size) for size in sizes])
    least, typical = max(LEAST, float(counts.quantile(0.25))), max(LEAST, float(counts.median()))
    n_neighbours = min(N_NEIGHBOURS, n // 4)
    if n_new < least or n_new > MOST_NEW * n or n_neighbours == 0:
        return groups
    nearest, _ = nearest_neighbours(rows, n_neighbours, backend=choose_backend("auto", "cpu")[0])
    shares = is_new[torch.from_numpy(nearest.copy())].double().mean(dim=1)
    odds = TIMES * n_new / (n - n_new)
    candidates = torch.nonzero(is_new & (shares >= max(SHARE, odds / (1 + odds)))).flatten()
    if len(candidates) < least:
        return groups
    labels, k = torch.zeros(len(candidates), dtype=torch.int64), int(len(candidates) / typical)
    if k > 1:
        labels = KMeans(k=k).fit(rows[candidates].contiguous(), seed=seed).labels
    large = torch.nonzero(torch.bincount(labels) >= least).flatten()
    for number, label in enumerate(large.tolist()):
        groups[candidates[labels == label]] = number
    return groups
