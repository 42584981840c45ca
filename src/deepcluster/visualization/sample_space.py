"""A random sample of the images, with features, clusters and labels. Next: plane.py projects it onto the plane."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering.moments import Moments
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.images import ImageSet
from deepcluster.evaluation.clusters.clustered_images import own_labels
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.extraction import collect
from deepcluster.system.seeding import generator


@dataclass(kw_only=True)
class Sample:
    """n of the N images, drawn at random.

    Args:
        indices: (n,) int64, ascending.
        features: (n, P) float32, reduced by PCA; each row has length 1.
        clusters: (n,) int64; None if the checkpoint has no assignment.
        own: whether the clusters are the run's last assignment; if not, they are the nearest centroids.
        labels: (n,) int64, -1 for an image without a label; None if no image has one.
    """

    indices: Tensor
    features: Tensor
    clusters: Tensor | None
    own: bool
    labels: Tensor | None


def images_of_split(context: EvaluationContext, split: str) -> ImageSet:
    """The "train" or "test" images.

    Raises:
        ValueError: if there are no test images.
    """
    images = context.train_images if split == "train" else context.test_images
    if images is None:
        raise ValueError(f"data={context.data.source} has no test images; set evaluation.split=train")
    return images


def draw_sample(context: EvaluationContext, images: ImageSet, *, n: int, dim: int, clusters: str) -> Sample:
    """Draw images at random, compute their features and reduce these by a PCA of the sample.

    The PCA does not whiten: whitening suits k-means, but it gives the noisy small directions as much weight as the
    large ones, and the picture blurs. Memory holds only the (n, D) features of the sample.

    Args:
        n: number of images; all are taken if there are fewer.
        dim: directions P of the PCA, at most D and at most the number of images.
        clusters: see :func:`~deepcluster.evaluation.clusters.clustered_images.own_labels`.
    """
    assignment = context.stored.assignment
    own = None if assignment is None else own_labels(context, images, clusters)
    chosen = torch.randperm(len(images), generator=generator(context.seed, "embedding"))[:n].sort().values
    drawn = None if context.untrained is None else context.untrained.draw(context.seed)
    source = context.feature_pass(images, convolutional=False, backbone=drawn)
    with context.progress.bar("features", len(chosen), "img") as advance:
        features = collect(source, chosen, advance)
    blocks = torch.split(features, source.batch_size)
    moments = Moments(features.shape[1])
    for block in blocks:
        moments.update(block)
    pca = Reduction(dim=min(dim, moments.dim, len(chosen)), whiten=False, l2=True).fit(moments)
    assigned = None
    if assignment is not None:
        assigned = torch.full((len(chosen),), -1) if own is None else own[chosen]
        if bool((assigned < 0).any()):
            nearest = torch.cat([assignment.apply(block) for block in blocks])
            assigned = torch.where(assigned < 0, nearest, assigned)
    labels = None if images.labels is None else images.labels[chosen]
    return Sample(
        indices=chosen,
        features=normalize(torch.cat([pca.apply(block) for block in blocks]), dim=1),
        clusters=assigned,
        own=own is not None,
        labels=None if labels is None or not bool((labels >= 0).any()) else labels,
    )
