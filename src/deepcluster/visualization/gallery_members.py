"""Clusters in numbers, and which of their members to show: from each image's cluster and distance."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from deepcluster.clustering.metrics import size_statistics
from deepcluster.evaluation.clusters.clustered_images import ClusteredImages
from deepcluster.system.seeding import generator
from deepcluster.visualization.gallery_orders import ORDERS


@dataclass(kw_only=True)
class Members:
    """One cluster: its numbers, and the images (as indices) to show of it.

    Args:
        number: as the run counts clusters, from 0.
        size: images in it.
        random: of those that are neither nearest nor farthest, drawn at random.
        classes: (label, share of the labelled images) of the commonest labels, at most five; none without labels.
        mean_distance: of its images to the centroid, in the reduced space; NaN where it was not measured.
        nearest: from the nearest on.
        farthest: from the farthest on; none that is among the nearest.
    """

    number: int
    size: int
    random: list[int]
    classes: list[tuple[int, float]]
    mean_distance: float = float("nan")
    nearest: list[int] = field(default_factory=list)
    farthest: list[int] = field(default_factory=list)

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
    chosen = []
    for number, members in enumerate(torch.split(order, sizes.tolist())):
        if len(members) == 0:
            continue
        nearest, rest = members[:n_members], members[n_members:]
        n_far = min(n_members, len(rest))
        farthest, rest = rest.flip(0)[:n_far], rest[: len(rest) - n_far]
        drawn = rest[torch.randperm(len(rest), generator=generator(seed, "gallery", number))[:n_members]]
        chosen.append(
            Members(
                number=number,
                size=len(members),
                mean_distance=float(distances[members].double().mean()),
                nearest=nearest.tolist(),
                farthest=farthest.tolist(),
                random=drawn.tolist(),
                classes=_shares(labels, members),
            )
        )
    return chosen


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
    chosen = []
    for number in by_size[places].tolist():
        members = torch.nonzero(clusters == number).flatten()
        drawn = members[torch.randperm(len(members), generator=generator(seed, "members", number))[:n_members]]
        shares = _shares(labels, members)
        chosen.append(Members(number=number, size=len(members), random=drawn.tolist(), classes=shares))
    return chosen


def _shares(labels: Tensor | None, members: Tensor) -> list[tuple[int, float]]:
    """(label, share of the labelled) of these images' five commonest labels; of equals the smaller label first."""
    if labels is None:
        return []
    known = labels[members]
    known = known[known >= 0]
    values, counts = torch.unique(known, return_counts=True)
    by_count = torch.argsort(counts, descending=True, stable=True)[:5]
    return [(int(values[i]), float(counts[i] / len(known))) for i in by_count]


def in_order(clusters: list[Members], order: str) -> list[Members]:
    """The clusters in one of `ORDERS`; equals by number, those without labels at the end of an order by purity."""
    by, from_large, _ = ORDERS[order]
    last = [cluster for cluster in clusters if getattr(cluster, by) is None]
    first = [cluster for cluster in clusters if getattr(cluster, by) is not None]
    return sorted(first, key=lambda c: (-getattr(c, by) if from_large else getattr(c, by), c.number)) + last


def figures(images: ClusteredImages, clusters: list[Members], labels: Tensor | None) -> dict[str, float]:
    """The numbers of all clusters together; see :meth:`Gallery.run`."""
    sizes = size_statistics(images.clusters, images.k)
    numbers: dict[str, float] = {
        "clusters_used": len(clusters),
        "largest_share": sizes["largest_share"],
        "entropy": sizes["entropy"],
        "mean_distance": float(images.distances.double().mean()),
        "nearest_centroid_share": images.nearest_share,
    }
    if labels is not None:
        n_labelled = torch.bincount(images.clusters[labels >= 0], minlength=images.k)
        right = sum(c.purity * int(n_labelled[c.number]) for c in clusters if c.purity is not None)
        numbers["purity"] = right / int(n_labelled.sum())
    return numbers
