"""Regions -> PCA-whitening -> one descriptor per image, from one size or several. Next: ranking.py."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering.moments import Moments
from deepcluster.clustering.pca import FittedReduction
from deepcluster.clustering.reduction import Reduction
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.retrieval.region_features import BLOCK, Item, RegionFeatures
from deepcluster.evaluation.retrieval.rmac import aggregate
from deepcluster.features.digest import weights_digest
from deepcluster.features.inference import inference_copy
from deepcluster.models.backbone import Backbone

EPSILON = 1e-5  # smallest variance that whitening divides by, relative to the largest (original: the same)

Reduce = Callable[[Tensor], Tensor]
Advance = Callable[[int], None]


def region_features(context: EvaluationContext, stage: str, levels: int) -> RegionFeatures:
    """Computes regions of image files with the context's network; saves them in its folder, below regions/."""
    network: Backbone = inference_copy(context.backbone, dtype=context.dtype, channels_last=True).to(context.device)
    return RegionFeatures(
        network=network,
        stage=stage,
        mean=context.card["mean"],
        std=context.card["std"],
        levels=levels,
        folder=context.folder / "regions",
        device=context.device,
        weights=weights_digest(network),
        max_value=context.reading.max_value,
    )


def check_queries(features: RegionFeatures, items: Sequence[Item], sizes: Sequence[int], advance: Advance) -> None:
    """Compute the regions of the queries; unlike an image of the database, no query may be broken.

    Raises:
        ValueError: if a query cannot be decoded, or is too small for the network.
    """
    for size in sizes:
        for number, block in enumerate(features.blocks(items, size, advance)):
            for place, why in block.broken.items():
                raise ValueError(
                    f"the query {items[number * BLOCK + place][0]} cannot be decoded: {why}; repair the file, or "
                    "take it out of the set"
                )


def learn_whitening(
    features: RegionFeatures, items: Sequence[Item], sizes: Sequence[int], n_pca: int, advance: Advance
) -> tuple[FittedReduction, int]:
    """Fit PCA-whitening and L2 on the regions of all images at all sizes.

    Args:
        n_pca: number of dimensions after PCA; all if the stage has fewer channels.

    Returns:
        The fitted reduction, and the number of images it was fitted on: those that can be decoded.

    Raises:
        ValueError: if there are too few regions.
    """
    moments: Moments | None = None
    for size in sizes:
        n_used = 0
        for block in features.blocks(items, size, advance):
            n_used += len(block.counts) - len(block.broken)
            if len(block.maxima):
                moments = moments or Moments(block.maxima.shape[1], device=features.device)
                moments.update(block.maxima)
    if moments is None:
        raise ValueError(f"evaluation.pca: none of the {len(items)} images can be decoded, first {items[0][0]}")
    dim = min(n_pca, moments.dim)
    if moments.n < max(2, dim):
        raise ValueError(
            f"evaluation.n_pca={n_pca} needs at least {max(2, dim)} regions to learn from, {len(items)} images have "
            f"{moments.n}; lower it, or give more images"
        )
    return Reduction(dim=dim, whiten=True, l2=True, epsilon=EPSILON, fit_images=None).fit(moments), n_used


def describe(
    features: RegionFeatures, items: Sequence[Item], sizes: Sequence[int], reduce: Reduce | None, advance: Advance
) -> tuple[Tensor, dict[int, str]]:
    """Descriptors (N, P) of length 1; with several sizes their sum, normalised to length 1.

    Returns:
        The descriptors, with zeros for images that cannot be decoded; and for those: index -> reason.

    Raises:
        ValueError: if no image can be decoded.
    """
    summed: Tensor | None = None
    broken: dict[int, str] = {}
    for size in sizes:
        rows: Tensor | None = None
        for number, block in enumerate(features.blocks(items, size, advance)):
            start = number * BLOCK
            broken |= {start + place: why for place, why in block.broken.items()}
            if len(block.maxima):
                described = aggregate(block.maxima, block.counts, reduce)
                rows = torch.zeros(len(items), described.shape[1]) if rows is None else rows
                rows[start : start + len(described)] = described
        if rows is None:
            raise ValueError(f"none of the {len(items)} images can be decoded, first {items[0][0]}: {broken[0]}")
        summed = rows if summed is None else summed + rows
    assert summed is not None, "there is at least one size"
    return normalize(summed, dim=1), broken
