"""The cluster of each image and how far it lies from the centroid, in one pass over the images.

For the images that the run learned from, the clusters are the run's own last assignment; for others, those of the
nearest centroids. With k-means the two rules agree. Power iteration clustering's centroids are means of its clusters,
and the nearest one is often that of another cluster.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment, nearest_centroid
from deepcluster.clustering.history import same_samples
from deepcluster.data.images import ImageSet
from deepcluster.data.settings import Data
from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class ClusteredImages:
    """N images in the K clusters of a checkpoint. Memory grows with N, not with N x P.

    Args:
        clusters: (N,) int64.
        distances: (N,) float32, Euclidean, in the reduced space, to the centroid of the image's cluster.
        k: number of clusters K; some may hold none of these images.
        own: the clusters are the run's own, not the nearest centroids.
        nearest_share: share of the images whose cluster is that of the nearest centroid.
    """

    clusters: Tensor
    distances: Tensor
    k: int
    own: bool
    nearest_share: float


def stored_assignment(context: EvaluationContext) -> Assignment:
    """The checkpoint's last assignment.

    Raises:
        ValueError: if the file holds none.
    """
    if context.stored.assignment is None:
        raise ValueError(
            f"{context.stored.path} ({context.stored.format}) holds no clusters; "
            "give a run's folder, or a checkpoint of ours that was saved after the first clustering"
        )
    return context.stored.assignment


def own_labels(context: EvaluationContext, images: ImageSet, choice: str = "auto") -> Tensor | None:
    """The run's own cluster (N,) of each image, or None where the nearest centroid decides.

    Args:
        choice: "own" demands the run's own, "nearest" never takes them, "auto" takes them if `images` are those that
            the run learned from: the same source and root, and the same identities in the same order.

    Raises:
        ValueError: if they are demanded and cannot be had.
    """
    assignment = stored_assignment(context)
    if choice == "nearest":
        return None
    folder = context.stored.path.parent.parent
    the_runs = same_samples(folder, images.samples) and len(assignment.labels) == len(images)
    if the_runs and choice == "auto":
        the_runs = context.run_data is not None and _same_place(context.run_data, context.data)
    if the_runs:
        return assignment.labels
    if choice == "own":
        raise ValueError(
            f"evaluation.clusters=own: these {len(images):,} images are not those that the run in {folder} clustered "
            f"({len(assignment.labels):,}); leave data and evaluation.split out, or set evaluation.clusters=nearest"
        )
    return None


def _same_place(a: Data, b: Data) -> bool:
    """Whether two sources lie in one place; names do not tell: many sets call their images train/0, train/1, ..."""
    roots = [None if data.root is None else Path(data.root).expanduser().resolve() for data in (a, b)]
    return a.source == b.source and roots[0] == roots[1]


def clustered(context: EvaluationContext, images: ImageSet, choice: str = "auto") -> ClusteredImages:
    """Cluster and distance of all images.

    Raises:
        ValueError: see :func:`own_labels`; if the network takes other channels, or a feature is not finite.
    """
    assignment, labels = stored_assignment(context), own_labels(context, images, choice)
    clusters = torch.empty(len(images), dtype=torch.int64) if labels is None else labels.clone()
    distances, n_nearest = torch.empty(len(images)), 0
    source = context.source(images, convolutional=False)
    with context.progress.bar("features", len(images), "img") as advance:
        for indices, features in source.stream(torch.arange(len(images))):
            x = features.float().cpu()
            if assignment.reduction is not None:
                x = assignment.reduction.apply(x)
            nearest = nearest_centroid(x, assignment.centroids)
            if labels is None:
                clusters[indices] = nearest
            n_nearest += int((clusters[indices] == nearest).sum())
            distances[indices] = (x - assignment.centroids[clusters[indices]]).norm(dim=1)
            advance(len(indices))
    return ClusteredImages(
        clusters=clusters,
        distances=distances,
        k=assignment.k,
        own=labels is not None,
        nearest_share=n_nearest / len(images),
    )


def origin(own: bool) -> str:
    """Where the clusters come from, in words."""
    return "the run's own last assignment" if own else "nearest centroid"
