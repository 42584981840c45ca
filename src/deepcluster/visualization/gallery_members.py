"""Count clusters and choose which of their members to show, from each image's cluster and distance."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from deepcluster.clustering.metrics import size_statistics
from deepcluster.evaluation.clusters.clustered_images import ClusteredImages
from deepcluster.system.seeding import generator
from deepcluster.visualization.gallery_orders import ORDERS


@dataclass(kw_only=True)
class Members:
    """A cluster's numbers, and the indices of the images to show.

    Args:
        number: the cluster's number in the run, from 0.
        size: images in it.
        random: drawn at random from the images that are neither nearest nor farthest.
        classes: (label, share of the labelled images) of the five commonest labels; empty without labels.
        mean_distance: of its images to the centroid, in the reduced space; NaN if it was not measured.
        nearest: sorted, the nearest first.
        farthest: sorted, the farthest first, without those in `nearest`.
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
        """The indices of all images that are shown."""
        return [*self.nearest, *self.farthest, *self.random]


def choose_members(
    clusters: Tensor, distances: Tensor, labels: Tensor | None, *, k: int, n_members: int, seed: int
) -> list[Members]:
    """The clusters that are not empty, by number, with members to show.

    Args:
        clusters: (N,) int64 in 0..k-1.
        distances: (N,) to the centroids.
        labels: (N,) int64, -1 for an image without one; or None.
        n_members: the most members of each kind: nearest, farthest, random.
        seed: of the random members; each cluster has its own draw, which does not depend on other clusters.
    """
    # Sorted by cluster, then distance, then index.
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
        shares = _shares(labels, members)
        chosen.append(Members(number=number, size=len(members), random=drawn.tolist(), classes=shares))
    return chosen


def _shares(labels: Tensor | None, members: Tensor) -> list[tuple[int, float]]:
    """(label, share of the labelled images) of the members' five commonest labels; of equals the smaller first."""
    if labels is None:
        return []
    known = labels[members]
    known = known[known >= 0]
    values, counts = torch.unique(known, return_counts=True)
    by_count = torch.argsort(counts, descending=True, stable=True)[:5]
    return [(int(values[i]), float(counts[i] / len(known))) for i in by_count]


def in_order(clusters: list[Members], order: str) -> list[Members]:
    """The clusters in one of `ORDERS`; equal ones by number; in an order by purity, those without labels come last."""
    by, from_large, _ = ORDERS[order]
    unknown = [cluster for cluster in clusters if getattr(cluster, by) is None]
    known = [cluster for cluster in clusters if getattr(cluster, by) is not None]
    return sorted(known, key=lambda c: (-getattr(c, by) if from_large else getattr(c, by), c.number)) + unknown


def figures(images: ClusteredImages, clusters: list[Members], labels: Tensor | None) -> dict[str, float]:
    """Numbers over all clusters; see :meth:`Gallery.run`."""
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
