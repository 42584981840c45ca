"""Some members of some clusters, to draw at a reassignment. Next: clusters_picture.py."""

from dataclasses import dataclass

import torch
from torch import Tensor

from deepcluster.system.seeding import generator

N_SHARES = 5  # commonest labels that are told of a cluster


@dataclass(kw_only=True)
class Members:
    """A cluster's numbers, and the indices of the images to show.

    Args:
        number: the cluster's number in the run, from 0.
        size: images in it.
        random: drawn at random from its images.
        classes: see :func:`label_shares`; empty without labels.
    """

    number: int
    size: int
    random: list[int]
    classes: list[tuple[int, float]]

    @property
    def size_text(self) -> str:
        """1 image; 1,234 images."""
        return f"{self.size:,} image{'' if self.size == 1 else 's'}"

    @property
    def majority(self) -> int | None:
        """The commonest label among its labelled images."""
        return self.classes[0][0] if self.classes else None

    @property
    def purity(self) -> float | None:
        """The share of its labelled images that have the commonest label."""
        return self.classes[0][1] if self.classes else None


def spread_members(
    clusters: Tensor, labels: Tensor | None, *, k: int, n_clusters: int, n_members: int, seed: int
) -> list[Members]:
    """Some clusters with random members, evenly spaced from the largest to the smallest. Needs no distances.

    Args:
        clusters: (N,) int64 in 0..k-1; -1 for an image in no cluster.
        labels: (N,) int64, -1 for an image without one; or None.
        n_clusters: the most clusters.
        n_members: the most members of each.
        seed: of the random members.
    """
    sizes = torch.bincount(clusters[clusters >= 0], minlength=k)
    by_size = torch.argsort(sizes, descending=True, stable=True)
    by_size = by_size[sizes[by_size] > 0]
    n_shown = min(n_clusters, len(by_size))
    places = [round(i * (len(by_size) - 1) / max(1, n_shown - 1)) for i in range(n_shown)]
    chosen = []
    for number in by_size[places].tolist():
        members = torch.nonzero(clusters == number).flatten()
        drawn = members[torch.randperm(len(members), generator=generator(seed, "members", number))[:n_members]]
        shares = label_shares(labels, members)
        chosen.append(Members(number=number, size=len(members), random=drawn.tolist(), classes=shares))
    return chosen


def label_shares(labels: Tensor | None, members: Tensor) -> list[tuple[int, float]]:
    """(label, share of the labelled images) of the members' commonest labels; of equals the smaller first.

    Args:
        labels: (N,) int64, -1 for an image without one; or None.
        members: (n,) int64, the images.
    """
    if labels is None:
        return []
    known = labels[members]
    known = known[known >= 0]
    values, counts = torch.unique(known, return_counts=True)
    by_count = torch.argsort(counts, descending=True, stable=True)[:N_SHARES]
    return [(int(values[i]), float(counts[i] / len(known))) for i in by_count]
