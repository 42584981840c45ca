"""How well do clusters of an untrained network's features fit the labels? To choose K and PCA before any training.

"A Deep Dive into Deep Cluster" calls the NMI of the two initial alignment and chooses by its median over 100 networks.
Beside it stand scores that need no labels (label_free.py). Next: alignment_table.py sums up.
"""

import dataclasses
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import ClassVar

import torch
from torch import Tensor

from deepcluster.clustering import metrics
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.reduction import Moments, Reduction
from deepcluster.data.images import ImageSet
from deepcluster.evaluation.clusters.alignment_table import (
    Row,
    as_csv,
    lines,
    rank_correlations,
    setting_name,
    shown_setting,
    summarise,
)
from deepcluster.evaluation.clusters.label_free import Pixels, distances, predictability, reduce_pixels, silhouette
from deepcluster.evaluation.clusters.seed_files import SeedFiles
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.features.extraction import collect
from deepcluster.models.backbone import pool_maps
from deepcluster.system.atomic import write_atomically
from deepcluster.system.seeding import generator, mix

LAYERS = ("features", "last_stage")
MAX_PIXELS = 3072  # values of an image that are looked at: 32 x 32 colours; larger images are averaged
MAY_CHANGE = ("n_seeds",)  # between two calls with one output_dir


@dataclass(kw_only=True)
class InitialAlignment(Evaluator):
    """NMI of labels and clusters of untrained networks' features, over seeds, for every K and dimension.

    Called without ckpt: arch, init, data and view say which networks on which images. Network, PCA and k-means of a
    seed are those of the clustering with which `train.py seed=SEED` compares its first epoch.

    Args:
        kind: "initial_alignment".
        k: numbers of clusters.
        dim: dimensions after PCA; null: no PCA.
        n_seeds: networks: of the seeds seed, seed + 1, ...
        whiten: give every kept direction unit variance; without PCA nothing is whitened.
        l2: divide every row by its length, afterwards.
        layer: what is clustered: "features", as in training, or "last_stage", the last maps, flattened.
        n_iter: iterations of k-means.
        max_images: at most so many images, drawn by the seed; null: all. Features of all of them are in memory.
        nmi_average: of the two entropies, see clustering/metrics.py.
        label_free: also compute silhouette, predictability and agreement.
        silhouette_images: images of the sample for the silhouette; its time grows with the square.
        predictor_images: images from whose pixels pseudo-labels are predicted: half to learn, half to test.
        predictor_dim: principal components of the pixels that are used.
    """

    needs_checkpoint: ClassVar[bool] = False

    kind: str = "initial_alignment"
    k: list[int] = field(default_factory=lambda: [5, 10, 20])
    dim: list[int | None] = field(default_factory=lambda: [None])
    n_seeds: int = 100  # Deep Dive
    whiten: bool = True
    l2: bool = True
    layer: str = "features"
    n_iter: int = 20
    max_images: int | None = None
    nmi_average: str = "arithmetic"
    label_free: bool = True
    silhouette_images: int = 2000
    predictor_images: int = 10_000
    predictor_dim: int = 128

    def __post_init__(self) -> None:
        for name, least in (("k", 2), ("dim", 1)):
            values = [value for value in getattr(self, name) if value is not None]
            if not getattr(self, name) or (values and min(values) < least):
                raise ValueError(f"evaluation.{name} must list values of at least {least}, got {getattr(self, name)}")
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"evaluation.{name} names a value twice: {getattr(self, name)}")
        least_values = {"n_seeds": 1, "n_iter": 1, "silhouette_images": 10, "predictor_images": 20, "predictor_dim": 1}
        for name, least in least_values.items():
            if getattr(self, name) < least:
                raise ValueError(f"evaluation.{name} must be at least {least}, got {getattr(self, name)}")
        if self.max_images is not None and self.max_images < 20:
            raise ValueError(f"evaluation.max_images must be at least 20 (or null: all), got {self.max_images}")
        if self.layer not in LAYERS:
            raise ValueError(f"evaluation.layer must be one of {', '.join(LAYERS)}, got {self.layer}")
        if self.nmi_average not in metrics.AVERAGES:
            known = ", ".join(metrics.AVERAGES)
            raise ValueError(f"evaluation.nmi_average must be one of {known}, got {self.nmi_average}")

    @property
    def settings(self) -> list[tuple[int, int | None]]:
        """All (k, dim)."""
        return [(k, dim) for dim in self.dim for k in self.k]

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Measure every seed that is not in the folder yet, then sum up.

        Returns:
            nmi_median_..., nmi_q1_..., nmi_q3_..., agreement_..., silhouette_..., predictability_... of every setting
            (k5_pca40, k5_no_pca), spearman_... of each score with the median NMI, best_k and best_dim (0: no PCA),
            those of the highest median. Files: initial_alignment.csv (every seed), initial_alignment_table.csv.

        Raises:
            ValueError: if sizes do not fit, a checkpoint was given, or the folder holds results of other settings.
        """
        if context.untrained is None:
            raise ValueError(
                "evaluation=initial_alignment measures untrained networks: leave out ckpt and name arch=OPTION"
            )
        images = context.train_images
        rows = _chosen_images(len(images), self.max_images, context.seed)
        self._check(context, images, rows)
        labels = None if images.labels is None else images.labels[rows]
        if labels is not None and len(torch.unique(labels[labels >= 0])) < 2:
            labels = None
        if labels is None:
            context.progress.say("there are no labels of two classes: no NMI, only the scores that need none")
        seeds = [context.seed + number for number in range(self.n_seeds)]
        files = SeedFiles(context.folder)
        done = [seed for seed in seeds if files.has(seed)]
        if done:
            context.progress.say(f"{len(done)} of {len(seeds)} seeds are in {context.folder} already")
        pixels = self._pixels(context, images, rows) if self.label_free and len(done) < len(seeds) else None
        with context.progress.bar("initial alignment", len(seeds), "seed") as advance:
            advance(len(done))
            for seed in seeds:
                if seed not in done:
                    self._measure(context, images, rows, labels, pixels, seed)
                    advance(1)
        return self._sum_up(context, seeds, n_images=len(rows))

    def _check(self, context: EvaluationContext, images: ImageSet, rows: Tensor) -> None:
        """Sizes, and that the folder's results are of these settings; before anything long."""
        assert context.untrained is not None
        one = collect(context.source(images, convolutional=self.layer == "last_stage"), rows[:1])
        for k in self.k:
            if k > len(rows):
                raise ValueError(f"evaluation.k={k} needs at least that many images, there are {len(rows)}; lower it")
        for dim in self.dim:
            if dim is not None and dim > min(one.shape[1], len(rows)):
                raise ValueError(
                    f"evaluation.dim={dim} is more than the {one.shape[1]} features of {len(rows)} images; lower it"
                )
        own = {name: value for name, value in dataclasses.asdict(self).items() if name not in MAY_CHANGE}
        samples = blake2b("\n".join(map(str, images.samples)).encode("utf-8", "surrogateescape"), digest_size=8)
        found = {
            **{f"evaluation.{name}": value for name, value in own.items()},
            "init": context.untrained.init,
            **context.card,
            "images": f"{len(rows)} of {len(images)}, {samples.hexdigest()}",
            "precision": str(context.dtype),
        }
        found["drawn_by_seed"] = context.seed if len(rows) < len(images) or self.label_free else None
        SeedFiles(context.folder).begin(found, may_change=", ".join(f"evaluation.{name}" for name in MAY_CHANGE))

    def _pixels(self, context: EvaluationContext, images: ImageSet, rows: Tensor) -> Pixels:
        sample = _chosen_images(len(rows), self.predictor_images, mix(context.seed, "predictor"), shuffled=True)
        source = dataclasses.replace(
            context.source(images), network=lambda batch: pool_maps(batch, MAX_PIXELS).flatten(1)
        )
        return reduce_pixels(sample, collect(source, rows[sample]), self.predictor_dim)

    def _measure(
        self,
        context: EvaluationContext,
        images: ImageSet,
        rows: Tensor,
        labels: Tensor | None,
        pixels: Pixels | None,
        seed: int,
    ) -> None:
        """One network: its features once, then every dimension and K; results go to the seed's file."""
        assert context.untrained is not None
        source = context.source(images, convolutional=self.layer == "last_stage", backbone=context.untrained.draw(seed))
        features = collect(source, rows)
        moments = Moments(features.shape[1])
        if any(dim is not None for dim in self.dim):
            moments.update(features)
        near = _chosen_images(len(rows), self.silhouette_images, mix(context.seed, "silhouette"))
        found: list[Row] = []
        clusters = torch.empty(len(self.settings), len(rows), dtype=torch.int16 if max(self.k) < 2**15 else torch.int32)
        for dim in self.dim:
            reduction = Reduction(dim=dim, whiten=self.whiten, l2=self.l2, fit_images=None).fit(moments)
            reduced = torch.cat([reduction.apply(part) for part in torch.split(features, 8192)])
            between = distances(reduced[near]) if self.label_free else None
            for k in self.k:
                kmeans = KMeans(k=k, n_iter=self.n_iter)
                # train.py's seed of the same clustering (training/reassign.py, moment "untrained")
                assigned = kmeans.fit(reduced, seed=mix(seed, "untrained", "k-means"), device=context.device).labels
                row: Row = {"seed": seed, "k": k, "dim": dim, "nmi": None}
                if labels is not None:
                    known = labels >= 0
                    row["nmi"] = metrics.nmi(assigned[known], labels[known], self.nmi_average)
                row["silhouette"] = None if between is None else silhouette(between, assigned[near])
                predicted = (
                    (None, None) if pixels is None else predictability(pixels, assigned, seed=mix(seed, "predictor", k))
                )
                row["predictability"], row["predictability_gain"] = predicted
                clusters[self.settings.index((k, dim))] = assigned
                found.append(row)
        SeedFiles(context.folder).write(seed, found, clusters)

    def _sum_up(self, context: EvaluationContext, seeds: list[int], *, n_images: int) -> dict[str, float]:
        """The CSV files, the table on the terminal, the numbers."""
        files = SeedFiles(context.folder)
        rows = files.rows(seeds)
        write_atomically(context.folder / "initial_alignment.csv", as_csv(rows))
        agreement: dict[tuple[int, int | None], float | None] = dict.fromkeys(self.settings)
        if self.label_free and len(seeds) > 1:
            stored = torch.stack([files.clusters(seed) for seed in seeds])  # (S, settings, N)
            for number, setting in enumerate(self.settings):
                agreement[setting] = metrics.mean_pairwise_nmi(stored[:, number].long(), self.nmi_average)
        table = summarise(rows, agreement)
        write_atomically(context.folder / "initial_alignment_table.csv", as_csv(table))
        correlations = rank_correlations(table)
        for text in lines(table, correlations):
            context.progress.say(text)
        results: dict[str, float] = {"n_images": n_images, "n_seeds": len(seeds)}
        for line in table:
            name = setting_name(line["k"], line["dim"])
            kept = {key: value for key, value in line.items() if key not in ("k", "dim", "n_seeds")}
            results |= {f"{key}_{name}": value for key, value in kept.items() if value is not None}
        results |= {f"spearman_{score}": value for score, value in correlations.items()}
        if table[0]["nmi_median"] is not None:
            best = max(table, key=lambda line: line["nmi_median"])
            results |= {"best_k": best["k"], "best_dim": best["dim"] or 0}
            context.progress.say(f"highest median NMI: {shown_setting(best['k'], best['dim'])}")
        return results


def _chosen_images(n_all: int, n: int | None, seed: int, *, shuffled: bool = False) -> Tensor:
    """n of n_all indices drawn by the seed, ascending unless shuffled; all if there are no more."""
    order = torch.randperm(n_all, generator=generator(seed, "initial alignment"))[:n]
    return order if shuffled else order.sort().values
