"""Measures clusters of untrained networks' features, one network after the other, with and without labels.

initial_alignment.py holds the settings, label_free.py the scores that need no labels. The results of each network are
saved in the evaluation's folder, so a repeated call continues with the next network. Next: alignment_table.py.
"""

import dataclasses
from typing import TypedDict

import torch
from torch import Tensor

from deepcluster.clustering import metrics
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.moments import Moments
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.images import ImageSet
from deepcluster.evaluation.clusters.alignment_table import (
    N_SPANNING,
    Row,
    pair_in_words,
    pair_key,
    rank_correlations,
    spanning_seeds,
    summarise,
    table_lines,
)
from deepcluster.evaluation.clusters.initial_alignment import InitialAlignment
from deepcluster.evaluation.clusters.label_free import Pixels, distances, predictability, reduce_pixels, silhouette
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.kept_work import KeptWork, samples_digest
from deepcluster.features.extraction import collect
from deepcluster.models.backbone import Backbone, pool_maps
from deepcluster.system.seeding import generator, mix
from deepcluster.system.tables import write_records

MAX_PIXELS = 3072  # pixel values used of an image: 32 x 32 in 3 colours; larger images are averaged down
MAY_CHANGE = ("n_seeds",)  # settings that may differ between two calls with the same output_dir


def measure_untrained_clusters(
    settings: InitialAlignment, context: EvaluationContext
) -> tuple[list[Row], dict[str, float]]:
    """Measure every seed that is not in the folder yet, then sum up.

    Writes initial_alignment.csv (every seed), initial_alignment_table.csv (every K and dimension).

    Returns:
        The rows of initial_alignment.csv, and the numbers: nmi_median_..., nmi_q1_..., nmi_q3_..., agreement_...,
        silhouette_..., predictability_... of every K and dimension (k5_pca40, k5_no_pca), spearman_... of each score
        with the median NMI; best_k and best_dim (0: no PCA) of the highest median NMI.

    Raises:
        ValueError: if sizes do not fit, a checkpoint was given, or the folder holds results of other settings.
    """
    if context.untrained is None:
        raise ValueError(
            "evaluation=initial_alignment measures untrained networks: leave out ckpt and name arch=OPTION"
        )
    networks = _Networks(settings, context)
    if networks.labels is None:
        context.progress.say(
            "the images have no labels of at least two classes: only the scores without labels are measured"
        )
    kept_work = KeptWork(folder=context.folder / "seeds", facts=networks.facts(), say=context.progress.say)
    seeds = [context.seed + number for number in range(settings.n_seeds)]
    measured = {seed: kept_work.read(f"seed_{seed}") for seed in seeds}
    missing = [seed for seed in seeds if measured[seed] is None]
    if len(missing) < len(seeds):
        context.progress.say(f"{len(seeds) - len(missing)} of {len(seeds)} seeds are in {context.folder} already")
    pixels = networks.pixels() if settings.label_free and missing else None
    with context.progress.bar("initial alignment", len(seeds), "seed") as advance:
        advance(len(seeds) - len(missing))
        for seed in missing:
            measured[seed] = networks.measure_network(context.untrained.draw(seed), seed, pixels)
            kept_work.write(f"seed_{seed}", measured[seed])
            advance(1)
    rows = [row for seed in seeds for row in measured[seed]["rows"]]
    write_records(context.folder / "initial_alignment.csv", rows)
    agreement: dict[tuple[int, int | None], float | None] = dict.fromkeys(settings.pairs)
    if settings.label_free and len(seeds) > 1:
        clusters = torch.stack([measured[seed]["clusters"] for seed in seeds])  # (seeds, pairs, N)
        for number, pair in enumerate(settings.pairs):
            agreement[pair] = metrics.mean_pairwise_nmi(clusters[:, number].long(), settings.nmi_average)
    numbers: dict[str, float] = {"n_images": len(networks.indices), "n_seeds": len(seeds)}
    return rows, numbers | _sum_up(context, rows, agreement)


class Measured(TypedDict):
    """Results of one network: a row for each pair of K and dimension, and the clusters (pairs, N)."""

    rows: list[Row]
    clusters: Tensor


class _Networks:
    """Measures one network after the other on the same images.

    Args:
        settings: which K, dimensions and scores.
        context: the untrained networks, the images, and the seed that draws a sample of them.

    Raises:
        ValueError: if K or a dimension is too large for the images or the features.
    """

    def __init__(self, settings: InitialAlignment, context: EvaluationContext) -> None:
        self.settings, self.context, self.images = settings, context, context.train_images
        self.indices = _draw_images(len(self.images), settings.max_images, context.seed)
        n_images, n_features = len(self.indices), self._features(context.backbone, self.indices[:1]).shape[1]
        for k in settings.k:
            if k > n_images:
                raise ValueError(f"evaluation.k={k} needs at least that many images, there are {n_images}; lower it")
        for dim in settings.dim:
            if dim is not None and dim > min(n_features, n_images):
                raise ValueError(
                    f"evaluation.dim={dim} is more than the {n_features} features of {n_images} images; lower it"
                )
        self.labels = _labels_of_two_classes(self.images, self.indices)

    def _features(self, backbone: Backbone, indices: Tensor) -> Tensor:
        convolutional = self.settings.layer == "last_stage"
        return collect(self.context.feature_pass(self.images, convolutional=convolutional, backbone=backbone), indices)

    def facts(self) -> dict[str, str]:
        """Everything that decides a network's results except its seed."""
        context, settings = self.context, self.settings
        assert context.untrained is not None
        deciding = {name: value for name, value in dataclasses.asdict(settings).items() if name not in MAY_CHANGE}
        if settings.start == "images":
            del deciding["start"]  # older folders lack it
        samples = samples_digest(self.images.samples)
        by_seed = len(self.indices) < len(self.images) or settings.label_free
        facts = {
            **{f"evaluation.{name}": value for name, value in deciding.items()},
            "init": context.untrained.init,
            **context.card,
            "images": f"{len(self.indices)} of {len(self.images)}, {samples}",
            "precision": str(context.dtype),
            "seed": context.seed if by_seed else None,  # draws the samples of images
        }
        return {name: repr(value) for name, value in facts.items()}

    def pixels(self) -> Pixels:
        """The reduced pixels from which clusters are predicted."""
        n_images = self.settings.predictor_images
        sample = _draw_images(len(self.indices), n_images, mix(self.context.seed, "predictor"), shuffled=True)
        feature_pass = dataclasses.replace(
            self.context.feature_pass(self.images), network=lambda batch: pool_maps(batch, MAX_PIXELS).flatten(1)
        )
        return reduce_pixels(sample, collect(feature_pass, self.indices[sample]), self.settings.predictor_dim)

    def measure_network(self, backbone: Backbone, seed: int, pixels: Pixels | None) -> Measured:
        """Compute the features of a network once, then cluster and score them for every dimension and K."""
        settings, n_images = self.settings, len(self.indices)
        features = self._features(backbone, self.indices)
        moments = Moments(features.shape[1])
        if any(dim is not None for dim in settings.dim):
            moments.update(features)
        sample = _draw_images(n_images, settings.silhouette_images, mix(self.context.seed, "silhouette"))
        rows: list[Row] = []
        clusters = torch.empty(len(settings.pairs), n_images, dtype=_dtype_of(max(settings.k)))
        for dim in settings.dim:
            reduction = Reduction(dim=dim, whiten=settings.whiten, l2=settings.l2, fit_images=None).fit(moments)
            reduced = torch.cat([reduction.apply(part) for part in torch.split(features, 8192)])
            between = distances(reduced[sample]) if settings.label_free else None
            for k in settings.k:
                # the seed that train.py uses for its untrained clustering (run/untrained.py)
                fitted = KMeans(k=k, n_iter=settings.n_iter, start=settings.start).fit(
                    reduced, seed=mix(seed, "untrained", "k-means"), device=self.context.device
                )
                row: Row = {"seed": seed, "k": k, "dim": dim, "nmi": self._nmi(fitted.labels)}
                row["silhouette"] = None if between is None else silhouette(between, fitted.labels[sample])
                row["predictability"], row["predictability_gain"] = (
                    (None, None)
                    if pixels is None
                    else predictability(pixels, fitted.labels, seed=mix(seed, "predictor", k))
                )
                clusters[len(rows)] = fitted.labels
                rows.append(row)
        return Measured(rows=rows, clusters=clusters)

    def _nmi(self, clusters: Tensor) -> float | None:
        if self.labels is None:
            return None
        known = self.labels >= 0
        return metrics.nmi(clusters[known], self.labels[known], self.settings.nmi_average)


def _dtype_of(largest: int) -> torch.dtype:
    """The smallest integer type for cluster numbers up to `largest`, as the clusters of all seeds are saved."""
    return torch.int16 if largest < 2**15 else torch.int32


def _labels_of_two_classes(images: ImageSet, indices: Tensor) -> Tensor | None:
    if images.labels is None:
        return None
    labels = images.labels[indices]
    return labels if len(torch.unique(labels[labels >= 0])) > 1 else None


def _draw_images(n_all: int, n: int | None, seed: int, *, shuffled: bool = False) -> Tensor:
    """n of n_all indices, drawn by the seed, ascending unless shuffled; all of them if n is None or larger."""
    order = torch.randperm(n_all, generator=generator(seed, "initial alignment"))[:n]
    return order if shuffled else order.sort().values


def _sum_up(
    context: EvaluationContext, rows: list[Row], agreement: dict[tuple[int, int | None], float | None]
) -> dict[str, float]:
    """Write the table to its file and the terminal; returns its numbers for results.json."""
    table = summarise(rows, agreement)
    write_records(context.folder / "initial_alignment_table.csv", table)
    correlations = rank_correlations(table)
    for text in table_lines(table, correlations):
        context.progress.say(text)
    numbers: dict[str, float] = {}
    for line in table:
        measures = {key: value for key, value in line.items() if key not in ("k", "dim", "n_seeds")}
        key = pair_key(line["k"], line["dim"])
        numbers |= {f"{name}_{key}": value for name, value in measures.items() if value is not None}
    numbers |= {f"spearman_{score}": value for score, value in correlations.items()}
    if table[0]["nmi_median"] is not None:
        best = max(table, key=lambda line: line["nmi_median"])
        numbers |= {"best_k": best["k"], "best_dim": best["dim"] or 0}
        context.progress.say(f"highest median NMI: {pair_in_words(best['k'], best['dim'])}")
        if best["n_seeds"] > N_SPANNING:
            spanning = ",".join(map(str, spanning_seeds(rows, best["k"], best["dim"], N_SPANNING)))
            context.progress.say(f"seeds from its lowest to its highest NMI, for train.py -m: seed={spanning}")
    return numbers
