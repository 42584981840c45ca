"""Measures how well clusters fit labels: a run's own clusters, and those of a fresh k-means of its features."""

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
from deepcluster.evaluation.clusters.clustered_images import own_labels
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
    """Training or test images: reduced features (N, P) and labels (N,), -1 for no label."""

    name: str
    x: Tensor
    labels: Tensor


def n_classes(images: ImageSet) -> int:
    """Number of different labels of the images."""
    return 0 if images.labels is None else len(torch.unique(images.labels[images.labels >= 0]))


def labelled_splits(context: EvaluationContext, reduction: Reduction) -> list[Split]:
    """The training images and, if they have labels, the test images, with features reduced as in the run.

    Args:
        reduction: fitted to the training images if the checkpoint holds none; a `dim` above the number of features or
            images is lowered.
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
    """The fitted reduction of the run (None: none) and the training images' reduced features (N, P)."""
    assignment = context.stored.assignment
    if assignment is not None:
        return assignment.reduction, _reduced(context, train, assignment.reduction)
    features = _reduced(context, train, None)
    dim = reduction.dim and min(reduction.dim, *features.shape)
    context.progress.say(
        f"a new reduction is fitted to the features: {'no PCA' if dim is None else f'PCA to {dim} dimensions'}"
    )
    settings = dataclasses.replace(reduction, dim=dim, fit_images=None)
    moments = Moments(features.shape[1])
    if settings.needs_fit:
        moments.update(features)
    fitted = settings.fit(moments)
    return fitted, torch.cat([fitted.apply(part) for part in torch.split(features, 8192)])


def _reduced(context: EvaluationContext, images: ImageSet, reduction: FittedReduction | None) -> Tensor:
    feature_pass = context.feature_pass(images, convolutional=False)
    if reduction is not None:
        network = feature_pass.network
        feature_pass = dataclasses.replace(feature_pass, network=lambda batch: reduction.apply(network(batch)))
    with context.progress.bar("features", len(images), "img") as advance:
        return collect(feature_pass, torch.arange(len(images)), advance)


def own_clusters(context: EvaluationContext, splits: Sequence[Split], nmi_average: str) -> dict[str, float]:
    """How well the checkpoint's clusters fit, as own_train_nmi ...; nothing if it holds none."""
    assignment = context.stored.assignment
    if assignment is None:
        context.progress.say(f"{context.stored.path} holds no clusters: only a fresh k-means is measured")
        return {}
    clusters = [nearest_centroid(split.x, assignment.centroids) for split in splits]
    results: dict[str, float] = {}
    own = own_labels(context, context.train_images)
    if own is not None:
        own = torch.where(own < 0, clusters[0], own)
        results["own_train_nearest_share"] = float((clusters[0] == own).double().mean())
        clusters[0] = own
    else:
        context.progress.say(
            "these are not the images that the run learned from: each gets the cluster of its nearest centroid"
        )
    return results | _fit_of_splits("own", splits, clusters, assignment.k, nmi_average)


def fresh_clusters(
    context: EvaluationContext, splits: Sequence[Split], *, k: int, n_iter: int, n_seeds: int, nmi_average: str
) -> dict[str, float]:
    """How well k-means of the first split fits, as fresh_train_nmi ...: mean over seeds and, if several, `_std`."""
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
        values = [results_of_seed[name] for results_of_seed in by_seed]
        results[name] = statistics.fmean(values)
        if len(values) > 1:
            results[f"{name}_std"] = statistics.stdev(values)
    return results


def _fit_of_splits(
    whose: str, splits: Sequence[Split], clusters: Sequence[Tensor], k: int, nmi_average: str
) -> dict[str, float]:
    """:func:`label_fit` of all splits; a cluster's class is the commonest class of its training images."""
    classes = metrics.majority_classes(splits[0].labels, clusters[0], k)
    return {
        f"{whose}_{split.name}_{name}": value
        for split, split_clusters in zip(splits, clusters, strict=True)
        for name, value in label_fit(split.labels, split_clusters, classes, nmi_average).items()
    }


def label_fit(labels: Tensor, clusters: Tensor, classes: Tensor, nmi_average: str = "arithmetic") -> dict[str, float]:
    """How well clusters (N,) fit labels (N,); images labelled -1 are left out.

    Args:
        classes: (K,), the class of each cluster, from training images (metrics.majority_classes).

    Returns:
        nmi; ami (absent above 1e6 clusters x classes); ari; purity, with each cluster's majority class among these
        images; one_to_one_accuracy, of the best matching of clusters and classes on these images (Hungarian; if K is
        not the number of classes, some have no partner, and their images count as wrong); many_to_one_accuracy, with
        `classes`, on the training images equal to purity; clusters_used, the number of clusters with a labelled image.
    """
    known = labels >= 0
    labels, clusters = labels[known], clusters[known]
    agreement = metrics.label_metrics(clusters, labels, nmi_average)
    return {name.removesuffix("_labels"): value for name, value in agreement.items()} | {
        "many_to_one_accuracy": metrics.many_to_one_accuracy(labels, clusters, classes),
        "clusters_used": len(torch.unique(clusters)),
    }


def table_lines(results: dict[str, float]) -> list[str]:
    """The results as a table for the terminal."""
    rows = [["", *COLUMNS.values()]]
    for group in ("own_train", "own_test", "fresh_train", "fresh_test"):
        if f"{group}_nmi" in results:
            rows.append([group.replace("_", ", "), *(_cell(results, f"{group}_{name}") for name in COLUMNS)])
    share = results.get("own_train_nearest_share", 1.0)
    if share == 1:
        return aligned(rows)
    return [
        *aligned(rows),
        f"{1 - share:.1%} of the training images are not in the cluster of their nearest centroid, but test images are "
        "assigned to their nearest centroid",
    ]


def _cell(results: dict[str, float], name: str) -> str:
    value, spread = results.get(name), results.get(f"{name}_std")
    if value is None:
        return "-"
    if name.endswith("clusters_used"):
        return f"{value:.0f}"
    return f"{value:.3f}" if spread is None else f"{value:.3f} ± {spread:.3f}"
