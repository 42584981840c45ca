"""Clusters in numbers, and which of their members to show: from each image's cluster and distance. Pure functions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from deepcluster.system.seeding import generator

# What an order is by, and whether from large to small. "number" is as the run counts them.
ORDERS: dict[str, tuple[str, bool]] = {
    "largest": ("size", True),
    "smallest": ("size", False),
    "compact": ("mean_distance", False),
    "loose": ("mean_distance", True),
    "pure": ("purity", True),
    "mixed": ("purity", False),
    "number": ("number", False),
}


@dataclass(kw_only=True)
class Members:
    """One cluster: its numbers, and the images (as indices) to show of it.

    Args:
        number: as the run counts clusters, from 0.
        size: images in it.
        mean_distance: of its images to the centroid, in the reduced space; NaN where it was not measured.
        nearest: from the nearest on.
        farthest: from the farthest on; none that is among the nearest.
        random: of the others, drawn at random.
        majority: the commonest label among its labelled images, None without.
        purity: the share of these that have it, None without.
        classes: (label, share) of the commonest labels, at most five.
    """

    number: int
    size: int
    mean_distance: float
    nearest: list[int]
    farthest: list[int]
    random: list[int]
    majority: int | None
    purity: float | None
    classes: list[tuple[int, float]]

    @property
    def shown(self) -> list[int]:
        """All that are shown."""
        return [*self.nearest, *self.farthest, *self.random]


def choose_members(
    clusters: Tensor, distances: Tensor, labels: Tensor | None, *, k: int, n_members: int, seed: int
) -> list[Members]:
    """The clusters that hold an image, by number.

    Args:
        clusters: (N,) int64 in 0..k-1.
        distances: (N,) to the centroids.
        labels: (N,) int64, -1 without; or None.
        n_members: nearest, farthest and random ones, so many each as far as there are.
        seed: of the random ones; each cluster draws its own, so that they do not depend on other clusters.
    """
    # By cluster, in it by distance, equal ones by index.
    order = torch.argsort(distances, stable=True)
    order = order[torch.argsort(clusters[order], stable=True)]
    sizes = torch.bincount(clusters, minlength=k)
    found = []
    for number, members in enumerate(torch.split(order, sizes.tolist())):
        if len(members) == 0:
            continue
        nearest, rest = members[:n_members], members[n_members:]
        n_far = min(n_members, len(rest))
        farthest, rest = rest.flip(0)[:n_far], rest[: len(rest) - n_far]
        drawn = rest[torch.randperm(len(rest), generator=generator(seed, "gallery", number))[:n_members]]
        classes = [] if labels is None else _shares(labels[members])
        found.append(
            Members(
                number=number,
                size=len(members),
                mean_distance=float(distances[members].double().mean()),
                nearest=nearest.tolist(),
                farthest=farthest.tolist(),
                random=drawn.tolist(),
                majority=classes[0][0] if classes else None,
                purity=classes[0][1] if classes else None,
                classes=classes[:5],
            )
        )
    return found


def spread_members(
    clusters: Tensor, labels: Tensor | None, *, k: int, n_clusters: int, n_members: int, seed: int
) -> list[Members]:
    """Some clusters, evenly from the largest to the smallest, with random members: what needs no distances.

    Args:
        clusters: (N,) int64 in 0..k-1.
        labels: (N,) int64, -1 without; or None.
        n_clusters: all of them if there are no more.
        n_members: of each, as far as there are.
        seed: of the members.
    """
    sizes = torch.bincount(clusters, minlength=k)
    by_size = torch.argsort(sizes, descending=True, stable=True)
    by_size = by_size[sizes[by_size] > 0]
    n_shown = min(n_clusters, len(by_size))
    places = [round(i * (len(by_size) - 1) / max(1, n_shown - 1)) for i in range(n_shown)]
    found = []
    for number in by_size[places].tolist():
        members = torch.nonzero(clusters == number).flatten()
        drawn = members[torch.randperm(len(members), generator=generator(seed, "members", number))[:n_members]]
        classes = [] if labels is None else _shares(labels[members])
        found.append(
            Members(
                number=number,
                size=len(members),
                mean_distance=float("nan"),
                nearest=[],
                farthest=[],
                random=drawn.tolist(),
                majority=classes[0][0] if classes else None,
                purity=classes[0][1] if classes else None,
                classes=classes[:5],
            )
        )
    return found


def _shares(labels: Tensor) -> list[tuple[int, float]]:
    """(label, share of the labelled), the commonest first, of equals the smaller label."""
    known = labels[labels >= 0]
    values, counts = torch.unique(known, return_counts=True)
    by_count = torch.argsort(counts, descending=True, stable=True)
    return [(int(values[i]), float(counts[i] / len(known))) for i in by_count]


def in_order(found: list[Members], order: str) -> list[Members]:
    """The clusters in one of `ORDERS`; equals by number, those without labels at the end of an order by purity."""
    name, from_large = ORDERS[order]
    known = [cluster for cluster in found if getattr(cluster, name) is not None]
    rest = [cluster for cluster in found if getattr(cluster, name) is None]
    return sorted(known, key=lambda c: (-getattr(c, name) if from_large else getattr(c, name), c.number)) + rest
