"""Figures of how well clusters fit labels: of a run's own clusters, and of a fresh k-means of its features."""

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepcluster.clustering import metrics
from deepcluster.clustering.assignment import nearest_centroid
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.moments import Moments
from deepcluster.clustering.pca import FittedReduction
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.images import ImageSet
from deepcluster.evaluation.clusters.nearest_centroid import own_labels
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.features.extraction import collect
from deepcluster.system.seeding import mix
from deepcluster.system.tables import aligned

COLUMNS = {
    "nmi": "NMI",
    "ami": "AMI",
    "ari": "ARI",
    "purity": "purity",
    "one_to_one_accuracy": "one-to-one",
    "many_to_one_accuracy": "many-to-one",
    "clusters_used": "used",
}


@dataclass(kw_only=True)
class Split:
    """Training or test images: reduced features (N, P) and labels (N,), -1 where there is none."""

    name: str
    x: Tensor
    labels: Tensor


def n_classes(images: ImageSet) -> int:
    """How many different labels the images have."""
    return 0 if images.labels is None else len(torch.unique(images.labels[images.labels >= 0]))


def labelled_splits(context: EvaluationContext, reduction: Reduction) -> list[Split]:
    """The training images and, if they have labels, the test images, with features reduced as the run did.

    Args:
        reduction: fitted to the training images when the checkpoint holds none; its `dim` is lowered to what there is.
    """
    train, test = context.train_images, context.test_images
    assert train.labels is not None
    fitted, x = _reduced_train(context, train, reduction)
    splits = [Split(name="train", x=x, labels=train.labels)]
    if test is not None and test.labels is not None and bool((test.labels >= 0).any()):
        splits.append(Split(name="test", x=_reduced(context, test, fitted), labels=test.labels))
    return splits


def _reduced_train(
    context: EvaluationContext, train: ImageSet, reduction: Reduction
) -> tuple[FittedReduction | None, Tensor]:
    """The training images as the run clustered them, and what reduces others likewise (None: nothing does)."""
    assignment = context.stored.assignment
    if assignment is not None:
        return assignment.reduction, _reduced(context, train, assignment.reduction)
    features = _reduced(context, train, None)
    dim = reduction.dim and min(reduction.dim, *features.shape)
    context.progress.say(f"features are reduced anew, {'without PCA' if dim is None else f'by PCA to {dim}'}")
    settings = dataclasses.replace(reduction, dim=dim, fit_images=None)
    moments = Moments(features.shape[1])
    if settings.needs_fit:
        moments.update(features)
    fitted = settings.fit(moments)
    return fitted, torch.cat([fitted.apply(part) for part in torch.split(features, 8192)])


def _reduced(context: EvaluationContext, images: ImageSet, reduction: FittedReduction | None) -> Tensor:
    source = context.source(images, convolutional=False)
    if reduction is not None:
        network = source.network
        source = dataclasses.replace(source, network=lambda batch: reduction.apply(network(batch)))
    with context.progress.bar("features", len(images), "img") as advance:
        return collect(source, torch.arange(len(images)), advance)


def own_clusters(context: EvaluationContext, splits: Sequence[Split], nmi_average: str) -> dict[str, float]:
    """The figures of the clusters that the checkpoint holds, as own_train_nmi ...; nothing if it holds none."""
    assignment = context.stored.assignment
    if assignment is None:
        context.progress.say(f"{context.stored.path} holds no clusters: only those of a fresh k-means are measured")
        return {}
    clusters = [nearest_centroid(split.x, assignment.centroids) for split in splits]
    results: dict[str, float] = {}
    own = own_labels(context, context.train_images)
    if own is not None:
        results["own_train_nearest_share"] = float((clusters[0] == own).double().mean())
        clusters[0] = own
    else:
        context.progress.say(
            "these are not the images that the run learned from: each belongs to its nearest centroid's cluster"
        )
    return results | _fit_of_splits("own", splits, clusters, assignment.k, nmi_average)


def fresh_clusters(
    context: EvaluationContext, splits: Sequence[Split], *, k: int, n_iter: int, n_seeds: int, nmi_average: str
) -> dict[str, float]:
    """Mean figures of k-means of the first split, as fresh_train_nmi ..., and with several seeds their `_std`."""
    kmeans = KMeans(k=k, n_iter=n_iter)
    by_seed = []
    with context.progress.bar("fresh k-means", n_seeds, "seed") as advance:
        for number in range(n_seeds):
            seed = mix(context.seed, "cluster_quality", number)
            fitted = kmeans.fit(splits[0].x, seed=seed, device=context.device)
            clusters = [fitted.labels, *(nearest_centroid(split.x, fitted.centroids) for split in splits[1:])]
            by_seed.append(_fit_of_splits("fresh", splits, clusters, k, nmi_average))
            advance(1)
    results: dict[str, float] = {}
    for name in by_seed[0]:
        values = [one[name] for one in by_seed]
        results[name] = statistics.fmean(values)
        if len(values) > 1:
            results[f"{name}_std"] = statistics.stdev(values)
    return results


def _fit_of_splits(
    whose: str, splits: Sequence[Split], clusters: Sequence[Tensor], k: int, nmi_average: str
) -> dict[str, float]:
    """The figures of all splits; a cluster's class is the commonest of its training images."""
    classes = metrics.majority_classes(splits[0].labels, clusters[0], k)
    return {
        f"{whose}_{split.name}_{name}": value
        for split, of_split in zip(splits, clusters, strict=True)
        for name, value in label_fit(split.labels, of_split, classes, nmi_average).items()
    }


def label_fit(labels: Tensor, clusters: Tensor, classes: Tensor, nmi_average: str = "arithmetic") -> dict[str, float]:
    """How well clusters (N,) fit labels (N,); images labelled -1 are left out.

    Args:
        classes: (K,), the class of each cluster, from training images (metrics.majority_classes).

    Returns:
        nmi, ami (absent above 1e6 clusters x classes), ari; purity, by the majorities of these images;
        one_to_one_accuracy, of the best matching on these images (Hungarian; if K is not the number of classes, some
        clusters or classes have no partner, and their images count as wrong); many_to_one_accuracy, by `classes`,
        which on the training images equals purity; clusters_used, those with a labelled image.
    """
    known = labels >= 0
    labels, clusters = labels[known], clusters[known]
    agreement = metrics.label_metrics(clusters, labels, nmi_average)
    return {name.removesuffix("_labels"): value for name, value in agreement.items()} | {
        "many_to_one_accuracy": metrics.many_to_one_accuracy(labels, clusters, classes),
        "clusters_used": len(torch.unique(clusters)),
    }


def lines(results: dict[str, float]) -> list[str]:
    """The results as a table for a terminal."""
    rows = [["", *COLUMNS.values()]]
    for group in ("own_train", "own_test", "fresh_train", "fresh_test"):
        if f"{group}_nmi" in results:
            rows.append([group.replace("_", ", "), *(_cell(results, f"{group}_{name}") for name in COLUMNS)])
    share = results.get("own_train_nearest_share", 1.0)
    if share == 1:
        return aligned(rows)
    return [
        *aligned(rows),
        f"{1 - share:.1%} of the training images are in another of the run's clusters than that of their nearest "
        "centroid, by which test images are assigned",
    ]


def _cell(results: dict[str, float], name: str) -> str:
    value, spread = results.get(name), results.get(f"{name}_std")
    if value is None:
        return "-"
    if name.endswith("clusters_used"):
        return f"{value:.0f}"
    return f"{value:.3f}" if spread is None else f"{value:.3f} ± {spread:.3f}"
