"""The cluster of each image and how far it lies from the centroid, in one pass over the images.

Images that the run learned from have the cluster of the run's last assignment; others, and those that it left without
a label, get the cluster of the nearest centroid. With k-means the two rules agree. The centroids of power iteration
clustering are the means of its clusters, and an image's nearest centroid is often that of another cluster.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.clustering.assignment import ROWS_PER_BLOCK, Assignment, nearest_centroid
from deepcluster.clustering.history import changed_images, same_samples
from deepcluster.data.images import ImageSet
from deepcluster.data.settings import Source
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.storage import choose_storage


@dataclass(kw_only=True)
class ClusteredImages:
    """N images in the K clusters of a checkpoint. Memory grows with N, not with N x P.

    Args:
        clusters: (N,) int64.
        distances: (N,) float32, Euclidean, in the reduced space, to the centroid of the image's cluster.
        k: number of clusters K; some may hold none of these images.
        own: True: clusters of the run's last assignment; False: of the nearest centroids.
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
        ValueError: if it holds none, or none of the backbone's features.
    """
    if context.stored.assignment is None:
        raise ValueError(
            f"{context.stored.path} ({context.stored.format}) holds no clusters; "
            "give a run's folder, or a checkpoint of ours that was saved after the first clustering"
        )
    context.stored.assignment.check_space()
    return context.stored.assignment


def own_labels(context: EvaluationContext, images: ImageSet, choice: str = "auto") -> Tensor | None:
    """The clusters (N,) of the run's last assignment, -1: none; or None if the nearest centroid decides.

    Args:
        choice: "own": always the run's assignment; "nearest": always None; "auto": the run's assignment if `images` are
            those that the run learned from: the same names in the same order, with the same contents (of runs of
            older versions, which know no contents: from the same source and root).

    Raises:
        ValueError: if choice is "own" and these are not the run's images.
    """
    assignment = stored_assignment(context)
    if choice == "nearest":
        return None
    folder = context.stored.home
    are_of_run = same_samples(folder, images.samples) and len(assignment.labels) == len(images)
    changed = None if images.contents is None or not are_of_run else changed_images(folder, images.contents.numpy())
    if changed is not None:
        are_of_run = not changed
    elif are_of_run and choice == "auto":
        are_of_run = context.run_data is not None and _same_place(context.run_data, context.data)
    if are_of_run:
        return assignment.labels
    if choice == "own":
        replaced = f", and {len(changed):,} hold something else than then" if changed else ""
        raise ValueError(
            f"evaluation.clusters=own: these {len(images):,} images are not those that the run in {folder} clustered "
            f"({len(assignment.labels):,}{replaced}); leave out data and evaluation.split, or set "
            "evaluation.clusters=nearest"
        )
    return None


def _same_place(a: Source, b: Source) -> bool:
    """Same source and root? The images' names are not enough: many sets call them train/0, train/1, ..."""
    roots = [None if data.root is None else Path(os.path.expanduser(data.root)).resolve() for data in (a, b)]
    return a.source == b.source and roots[0] == roots[1]


def cluster_images(
    context: EvaluationContext,
    images: ImageSet,
    choice: str = "auto",
    visit: Callable[[Tensor, Tensor], None] = lambda indices, rows: None,
) -> ClusteredImages:
    """Cluster of each image, and its distance from the centroid.

    Args:
        choice: see :func:`own_labels`.
        visit: called with indices (B,) and reduced rows (B, P) of all images, block by block, so that whoever needs
            the rows too makes no pass of its own.

    Raises:
        ValueError: see :func:`own_labels`; also if the network takes other channels, or a feature is not finite.
    """
    assignment, labels = stored_assignment(context), own_labels(context, images, choice)
    clusters = torch.full((len(images),), -1) if labels is None else labels.clone()
    distances, n_nearest = torch.empty(len(images)), 0
    with context.progress.bar("features", len(images), "img") as advance:
        for indices, x in _reduced_rows(context, images, assignment):
            nearest = nearest_centroid(x, assignment.centroids)
            clusters[indices] = torch.where(clusters[indices] < 0, nearest, clusters[indices])
            n_nearest += int((clusters[indices] == nearest).sum())
            distances[indices] = (x - assignment.centroids[clusters[indices]]).norm(dim=1)
            visit(indices, x)
            advance(len(indices))
    return ClusteredImages(
        clusters=clusters,
        distances=distances,
        k=assignment.k,
        own=labels is not None,
        nearest_share=n_nearest / len(images),
    )


def rows_for(n: int, assignment: Assignment, folder: Path) -> Tensor:
    """Room for the reduced rows (N, P) float32 of n images, in memory or in a file mapped from the folder."""
    dim = assignment.centroids.shape[1]
    return choose_storage("auto", "float32", n=n, dim=dim, unit_length=True, memory_gb=None, folder=folder).allocate(
        n, dim
    )


def _reduced_rows(
    context: EvaluationContext, images: ImageSet, assignment: Assignment
) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices (B,) and reduced rows (B, P): those that are known already, or of a pass through the network."""
    if (known := context.rows_of(images)) is not None:
        indices = torch.arange(len(images))
        yield from zip(torch.split(indices, ROWS_PER_BLOCK), torch.split(known, ROWS_PER_BLOCK), strict=True)
        return
    feature_pass = context.feature_pass(images, convolutional=False)
    for indices, features in feature_pass.stream(torch.arange(len(images))):
        x = features.float().cpu()
        yield indices, x if assignment.reduction is None else assignment.reduction.apply(x)


def clusters_origin(own: bool) -> str:
    """In words: where the clusters come from."""
    return "those of the run's last assignment" if own else "nearest centroid"
