"""Settings of k-means, read without importing torch. Next: kmeans_fit.py clusters reduced features (N, P)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from deepcluster.clustering.backend import BACKENDS, choose_backend
from deepcluster.clustering.chosen_k import ChosenK
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deepcluster.clustering.assignment import Assignment
    from deepcluster.clustering.ranks import Ranks

# From here on several processes cluster together. Below, an iteration takes a tenth of a second on one core, and a sum
# over processes about a hundredth. The number of processes has no part in it, so that 2 and 4 give the same clusters.
SHARED_FROM_PRODUCTS = 2e9  # N x K x P
SHARED_FROM_BYTES = 2**28  # of the reduced features, which one process would have to hold
BALANCING_PASSES = 240  # at most, over all images: iterations of kmeans_balanced.py


@dataclass(kw_only=True)
class KMeans(ChosenK):
    """Lloyd's k-means, the clustering step of DeepCluster (Caron et al. 2018).

    Args:
        kind: "kmeans".
        start: where the iterations begin: at "images" that the seed draws, all alike; by "kmeans++" at images that it
            draws far from each other (kmeans_plus_plus.py), as scikit-learn does; or at the last assignment's
            "labels": at the means of the images under them, which do not depend on the reduction's basis. Clusters
            without images, and the first assignment, begin at images; with n_redo only the first run begins at the
            labels.
        n_iter: Lloyd iterations per reassignment.
        n_redo: runs from different starts; the best objective is kept.
        spherical: keep the centroids on the unit sphere.
        max_points_per_centroid: iterate on at most this number times k images, chosen by the seed; null: on all.
        empty: what becomes of a cluster that is no image's nearest: "repair" gives it half of the largest cluster;
            "squeeze" leaves it out, as the 2018 code does: the head keeps its output, which is no image's label;
            "keep" keeps its last centroid, in the iterations too, as DeepCluster-v2 does: it is no image's label.
        sizes: "free" gives each image its nearest centroid in the last assignment; "balanced" makes the clusters about
            equally large (Sinkhorn-Knopp), and their means the centroids.
        backend: auto, faiss or torch; see :func:`choose_backend`.
        parallel: with several processes: "gather" clusters on the first one, "shares" on all, each with its share of
            the images; auto decides by size. The results differ only by the order in which floats are added.
    """

    ABSENT: ClassVar[dict[str, str]] = {"init": "clustering.start=kmeans++, images or labels says where k-means begins"}

    kind: str = "kmeans"
    start: str = setting("images", one_of=("images", "kmeans++", "labels"))
    n_iter: int = setting(20, at_least=1)  # original: clustering.py, run_kmeans
    n_redo: int = setting(1, at_least=1)
    spherical: bool = False
    # original: 10_000_000, use every point (faiss's default is 256)
    max_points_per_centroid: int | None = setting(None, at_least=1, hint="null takes all images")
    empty: str = setting("repair", one_of=("repair", "squeeze", "keep"))
    sizes: str = setting("free", one_of=("free", "balanced"))
    backend: str = setting("auto", one_of=BACKENDS)
    parallel: str = setting("auto", one_of=("auto", "gather", "shares"))

    @property
    def n_updates(self) -> int:
        return self.n_iter * self.n_redo * len(self.ks)

    def continuing(self) -> KMeans:
        return replace(self, match=True, start="labels")

    @property
    def labels_are_nearest(self) -> bool:
        return self.sizes == "free"

    def n_iterated(self, n_images: int) -> int:
        return self._n_iterated(n_images, max(self.ks))

    def _n_iterated(self, n_images: int, k: int) -> int:
        return min(n_images, k * (self.max_points_per_centroid or n_images))

    def distances(self, n_images: int) -> float:
        n_passes = self.n_redo * (1 if self.sizes == "free" else 1 + BALANCING_PASSES)
        return sum(
            float(k) * (self.n_redo * self._n_iterated(n_images, k) * self._n_rounds(k) + n_passes * n_images)
            for k in self.ks
        )

    def _n_rounds(self, k: int) -> int:
        """Iterations, and those that k-means++ is worth: it takes the distances to all candidates."""
        return self.n_iter + self._n_candidates(k)

    def _n_candidates(self, k: int) -> int:
        """Of each choice of k-means++, as many as scikit-learn has (n_local_trials); 0: the start is another."""
        return 2 + int(math.log(k)) if self.start == "kmeans++" else 0

    def describe(self, device: torch.device | str) -> str:
        backend, why = choose_backend(self.backend, device)
        return f"{self.words()}, {backend} ({why})"

    def shares(self, n_images: int, dim: int) -> tuple[bool, str]:
        if self.parallel != "auto":
            return self.parallel == "shares", f"clustering.parallel={self.parallel}"
        n_products, n_bytes = n_images * max(self.ks) * dim, n_images * dim * 4
        if n_products >= SHARED_FROM_PRODUCTS:
            return True, f"N x K x P = {n_products:.1e}"
        if n_bytes >= SHARED_FROM_BYTES:
            return True, f"{n_bytes / 2**20:.0f} MB of reduced features"
        return False, f"N x K x P = {n_products:.1e} is little"

    def _fit(
        self,
        rows: Tensor,
        *,
        n_images: int,
        ranks: Ranks | None,
        seed: int,
        device: torch.device | str,
        progress: Callable[[int, int], None] | None,
        start: Tensor | None,
    ) -> Assignment:
        """The seed chooses the first centroids, and the images of a sample."""
        from deepcluster.clustering import kmeans_fit

        return kmeans_fit.fit(
            rows,
            k=self.only_k,
            n_images=n_images,
            ranks=ranks,
            seed=seed,
            start=start if self.start == "labels" else None,
            n_candidates=self._n_candidates(self.only_k),
            n_iter=self.n_iter,
            n_redo=self.n_redo,
            spherical=self.spherical,
            max_points_per_centroid=self.max_points_per_centroid,
            empty=self.empty,
            balanced=self.sizes == "balanced",
            engine=choose_backend(self.backend, device)[0],
            device=device,
            progress=progress,
        )
