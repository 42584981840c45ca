"""The order in which a page knows the images: by cluster, in a cluster from its centroid outwards.

An image's place in this order is its number on the page, so that a cluster is a range of numbers and its pictures lie
side by side on the same sheets.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepcluster.clustering.metrics import purity, size_statistics
from deepcluster.evaluation.clusters.clustered_images import ClusteredImages
from deepcluster.evaluation.clusters.merged_clusters import MergedClusters
from deepcluster.visualization.members import label_shares


@dataclass(kw_only=True)
class Arrangement:
    """N images by cluster and distance.

    Args:
        order: (N,) int64, the image at each place.
        place: (N,) int64, the place of each image.
        numbers: the clusters that hold images, ascending; -1, images without a cluster, comes last.
        sizes: images in each of these clusters.
        mean_distances: of each cluster's images to its centroid.
        shares: of each cluster (label, share of the labelled images) of the commonest labels; empty without labels.
    """

    order: NDArray[np.int64]
    place: NDArray[np.int64]
    numbers: list[int]
    sizes: list[int]
    mean_distances: list[float]
    shares: list[list[tuple[int, float]]]


def arrange(clustering: ClusteredImages, labels: Tensor | None) -> Arrangement:
    """Put the images in order.

    Args:
        labels: (N,) int64, -1 for an image without one; or None.
    """
    # Sorted by cluster, then distance, then index; -1 as K, behind all others.
    clusters = torch.where(clustering.clusters < 0, clustering.k, clustering.clusters)
    order = torch.argsort(clustering.distances, stable=True)
    order = order[torch.argsort(clusters[order], stable=True)]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    values, sizes = torch.unique(clusters, return_counts=True)
    numbers: list[int] = torch.where(values == clustering.k, -1, values).tolist()
    parts = torch.split(order, sizes.tolist())
    return Arrangement(
        order=order.numpy(),
        place=place.numpy(),
        numbers=numbers,
        sizes=sizes.tolist(),
        mean_distances=[float(clustering.distances[part].double().mean()) for part in parts],
        shares=[label_shares(labels, part) for part in parts],
    )


def figures(clustering: ClusteredImages, labels: Tensor | None) -> dict[str, float]:
    """Numbers over all clusters: how many hold images, how even their sizes are, how compact and how pure they are.

    Args:
        labels: (N,) int64, -1 for an image without one; or None.

    Returns:
        clusters_used, largest_share, entropy, see :func:`size_statistics`; mean_distance to the centroids,
        nearest_centroid_share (images whose cluster is that of the nearest centroid), and with labels purity (share of
        the labelled images that have their cluster's commonest label).
    """
    in_one = clustering.clusters >= 0
    sizes = size_statistics(clustering.clusters[in_one], clustering.k)
    numbers: dict[str, float] = {name: sizes[name] for name in ("clusters_used", "largest_share", "entropy")}
    numbers["mean_distance"] = float(clustering.distances.double().mean())
    numbers["nearest_centroid_share"] = clustering.nearest_share
    known = in_one if labels is None else in_one & (labels >= 0)
    if labels is not None and bool(known.any()):
        numbers["purity"] = purity(labels[known], clustering.clusters[known])
    return numbers


def cluster_table(arranged: Arrangement, merged: MergedClusters | None = None) -> dict[str, Any]:
    """The clusters' columns for the page; with their groups, if there are any."""
    columns: dict[str, Any] = {
        "number": arranged.numbers,
        "size": arranged.sizes,
        "distance": [round(distance, 4) for distance in arranged.mean_distances],
    }
    if merged is not None:
        columns["group"] = [-1 if number < 0 else int(merged.groups[number]) for number in arranged.numbers]
    if any(arranged.shares):
        columns["shares"] = [[[c, round(share, 4)] for c, share in shares] for shares in arranged.shares]
    return columns
