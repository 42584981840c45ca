"""How well do clusters fit the labels, on images that were clustered and on others? evaluation=cluster_quality."""

import dataclasses
import statistics
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deepcluster.clustering import metrics
from deepcluster.clustering.assignment import nearest_centroid
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.reduction import FittedReduction, Moments, Reduction
from deepcluster.data.images import ImageSet
from deepcluster.evaluation.clusters.nearest_centroid import own_labels
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.features.extraction import collect
from deepcluster.system.seeding import mix

SHOWN = ("nmi", "ami", "ari", "purity", "one_to_one_accuracy", "many_to_one_accuracy", "clusters_used")


@dataclass(kw_only=True)
class ClusterQuality(Evaluator):
    """NMI, AMI, ARI, purity, one-to-one and many-to-one accuracy, of the run's clusters and of a fresh k-means.

    The run's own clusters ("own"): on the images that it learned from, those that the checkpoint holds; on all others
    the nearest of its centroids. With clustering=pic the two differ: PIC's clusters are no cells around centroids, so
    test figures are those of another rule; `own_train_nearest_share` tells how many training images it moves. It is
    also below 1 for last.ckpt, whose network has learned since its clusters were made.

    The fresh ones ("fresh"): k-means of the training images, features reduced as the run did (if the file tells how),
    test images to their nearest centroid; mean and deviation over seeds.

    Args:
        kind: "cluster_quality".
        k: clusters of the fresh k-means; null: as many as the labels have classes.
        n_seeds: runs of the fresh k-means; 0: none.
        n_iter: its iterations.
        reduction: how features are reduced when the file holds no clusters; `dim` is lowered to what there is.
        nmi_average: of the two entropies, see clustering/metrics.py; AMI's is always the arithmetic one.
    """

    kind: str = "cluster_quality"
    k: int | None = None
    n_seeds: int = 5
    n_iter: int = 20
    reduction: Reduction = field(default_factory=lambda: Reduction(dim=256))
    nmi_average: str = "arithmetic"

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 2:
            raise ValueError(f"evaluation.k must be at least 2 (or null: the number of classes), got {self.k}")
        for name, least in (("n_seeds", 0), ("n_iter", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"evaluation.{name} must be at least {least}, got {getattr(self, name)}")
        if self.nmi_average not in metrics.AVERAGES:
            known = ", ".join(metrics.AVERAGES)
            raise ValueError(f"evaluation.nmi_average must be one of {known}, got {self.nmi_average}")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Measure.

        Returns:
            n_train and n_test, the images with a label; for each of own_train, own_test, fresh_train, fresh_test what
            :func:`quality` gives (own_train_nmi ...), of the fresh ones the mean over seeds, and of several with
            `_std` its deviation; own_train_nearest_share, fresh_k. What cannot be had (no clusters in the file, no
            labelled test images) is left out.

        Raises:
            ValueError: if there are no labels of two classes, or fewer images than clusters.
        """
        train, test = context.train_images, context.test_images
        if train.labels is None or len(torch.unique(train.labels[train.labels >= 0])) < 2:
            raise ValueError(
                f"data={context.data.source} has no labels of two classes, with which clusters could be compared; "
                "evaluation=assign needs none"
            )
        if test is not None and (test.labels is None or not bool((test.labels >= 0).any())):
            test = None
        k = self.k or len(torch.unique(train.labels[train.labels >= 0]))
        if self.n_seeds > 0 and k > len(train):
            raise ValueError(f"evaluation.k={k} needs at least that many images, there are {len(train)}; lower it")
        reduction, x = self._reduced_train(context, train)
        parts = [Part(name="train", x=x, labels=train.labels)]
        if test is not None:
            assert test.labels is not None
            parts.append(Part(name="test", x=self._reduced(context, test, reduction), labels=test.labels))
        results: dict[str, float] = {f"n_{part.name}": int((part.labels >= 0).sum()) for part in parts}
        results |= self._own(context, parts)
        if self.n_seeds > 0:
            results |= {"fresh_k": k} | self._fresh(context, parts, k)
        for line in lines(results):
            context.progress.say(line)
        return results

    def _own(self, context: EvaluationContext, parts: list["Part"]) -> dict[str, float]:
        assignment = context.stored.assignment
        if assignment is None:
            context.progress.say(f"{context.stored.path} holds no clusters: only those of a fresh k-means")
            return {}
        clusters = [nearest_centroid(part.x, assignment.centroids) for part in parts]
        found: dict[str, float] = {}
        own = own_labels(context, context.train_images)
        if own is not None:
            found["own_train_nearest_share"] = float((clusters[0] == own).double().mean())
            clusters[0] = own
        else:
            context.progress.say("these are not the images that the run learned from: each to its nearest centroid")
        return found | self._qualities("own", parts, clusters, assignment.k)

    def _fresh(self, context: EvaluationContext, parts: list["Part"], k: int) -> dict[str, float]:
        kmeans = KMeans(k=k, n_iter=self.n_iter)
        runs = []
        with context.progress.bar("fresh k-means", self.n_seeds, "seed") as advance:
            for number in range(self.n_seeds):
                seed = mix(context.seed, "cluster_quality", number)
                fitted = kmeans.fit(parts[0].x, seed=seed, device=context.device)
                clusters = [fitted.labels, *(nearest_centroid(part.x, fitted.centroids) for part in parts[1:])]
                runs.append(self._qualities("fresh", parts, clusters, k))
                advance(1)
        found: dict[str, float] = {}
        for name in runs[0]:
            values = [run[name] for run in runs]
            found[name] = statistics.fmean(values)
            if len(values) > 1:
                found[f"{name}_std"] = statistics.stdev(values)
        return found

    def _qualities(self, whose: str, parts: list["Part"], clusters: list[Tensor], k: int) -> dict[str, float]:
        """The numbers of all parts; a cluster's class is that of its training images."""
        classes = metrics.majority_classes(parts[0].labels, clusters[0], k)
        return {
            f"{whose}_{part.name}_{name}": value
            for part, found in zip(parts, clusters, strict=True)
            for name, value in quality(part.labels, found, classes, self.nmi_average).items()
        }

    def _reduced_train(self, context: EvaluationContext, train: ImageSet) -> tuple[FittedReduction | None, Tensor]:
        """The training images as the run clustered them, and what reduces others likewise (None: nothing does)."""
        assignment = context.stored.assignment
        if assignment is not None:
            return assignment.reduction, self._reduced(context, train, assignment.reduction)
        features = self._reduced(context, train, None)
        dim = self.reduction.dim and min(self.reduction.dim, *features.shape)
        context.progress.say(f"features are reduced anew, {'without PCA' if dim is None else f'by PCA to {dim}'}")
        settings = dataclasses.replace(self.reduction, dim=dim, fit_images=None)
        moments = Moments(features.shape[1])
        if settings.needs_fit:
            moments.update(features)
        fitted = settings.fit(moments)
        return fitted, torch.cat([fitted.apply(part) for part in torch.split(features, 8192)])

    def _reduced(self, context: EvaluationContext, images: ImageSet, reduction: FittedReduction | None) -> Tensor:
        source = context.source(images, convolutional=False)
        if reduction is not None:
            network = source.network
            source = dataclasses.replace(source, network=lambda batch: reduction.apply(network(batch)))
        with context.progress.bar("features", len(images), "img") as advance:
            return collect(source, torch.arange(len(images)), advance)


@dataclass(kw_only=True)
class Part:
    """Training or test images: reduced features (N, P) and labels (N,), -1 where there is none."""

    name: str
    x: Tensor
    labels: Tensor


def quality(labels: Tensor, clusters: Tensor, classes: Tensor, nmi_average: str = "arithmetic") -> dict[str, float]:
    """How well clusters (N,) fit labels (N,); images labelled -1 are left out.

    Args:
        classes: (K,), the class of each cluster, from training images (metrics.majority_classes).

    Returns:
        nmi, ami (absent above 1e6 clusters x classes), ari; purity, of these images' own majorities;
        one_to_one_accuracy, of the best matching on these images (Hungarian; with K other than the number of classes
        some of either stay unmatched and count as wrong); many_to_one_accuracy, by `classes`, which on the training
        images equals purity; clusters_used, those with a labelled image.
    """
    known = labels >= 0
    labels, clusters = labels[known], clusters[known]
    found = metrics.label_metrics(clusters, labels, nmi_average)
    return {name.removesuffix("_labels"): value for name, value in found.items()} | {
        "many_to_one_accuracy": metrics.many_to_one_accuracy(labels, clusters, classes),
        "clusters_used": len(torch.unique(clusters)),
    }


def lines(results: dict[str, float]) -> list[str]:
    """The results as a table for a terminal."""
    titles = ["NMI", "AMI", "ARI", "purity", "one-to-one", "many-to-one", "used"]
    found = ["              " + "".join(f"{title:>16}" for title in titles)]
    for group in ("own_train", "own_test", "fresh_train", "fresh_test"):
        if f"{group}_nmi" not in results:
            continue
        cells = []
        for name in SHOWN:
            value, spread = results.get(f"{group}_{name}"), results.get(f"{group}_{name}_std")
            digits = 0 if name == "clusters_used" else 3
            cell = "-" if value is None else f"{value:.{digits}f}"
            cells.append(cell if spread is None or digits == 0 else f"{cell} ± {spread:.3f}")
        found.append(f"{group.replace('_', ', '):14}" + "".join(f"{cell:>16}" for cell in cells))
    share = results.get("own_train_nearest_share", 1.0)
    if share < 1:
        found.append(
            f"{1 - share:.1%} of the training images are in another of the run's clusters than that of their nearest "
            "centroid, by which test images are assigned"
        )
    return found
