"""Reduced features (N, P) -> Assignment by Lloyd's k-means. Next: its labels are trained on as pseudo-labels.

Two engines do the iterations: kmeans_faiss.py and kmeans_torch.py. What comes after them is common: every
image is assigned to its nearest centroid, and clusters that are then empty are repaired or squeezed out.
"""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering import kmeans_faiss, kmeans_parallel, kmeans_torch
from deepcluster.clustering.assignment import Assignment, nearest_centroid, squared_distance
from deepcluster.clustering.kmeans_parallel import Share
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.repair import repair_empty, squeeze_empty

__all__ = ["KMeans", "choose_backend", "repair_empty"]

EMPTY = ["repair", "squeeze"]
BACKENDS = ["auto", "faiss", "torch"]
PARALLEL = ["auto", "gather", "shares"]
# Where shares pay: below, an iteration takes a tenth of a second on one core, and a sum over processes about a
# hundredth. By facts and the same for any number of processes, so that 2 and 4 do the same sums.
SHARED_FROM_PRODUCTS = 2e9  # N x K x P
SHARED_FROM_BYTES = 2**28  # of the reduced features, which one process would have to hold
DEVICE_SHARE = 0.5  # of a GPU's free memory that the features may take
REDO_SEED_STEP = 15_486_557  # as in faiss, Clustering.cpp


@dataclass(kw_only=True)
class KMeans(Clustering):
    """Lloyd's k-means, the clustering step of DeepCluster (Caron et al. 2018).

    Args:
        kind: "kmeans".
        k: number of clusters K, at most the number of images N.
        n_iter: Lloyd iterations per reassignment.
        n_redo: runs from different starts; the best objective is kept.
        spherical: keep the centroids on the unit sphere.
        max_points_per_centroid: iterate on at most k times so many images, chosen by the seed; null: on all.
        empty: what becomes of clusters that no image is nearest to: "repair" gives them half of the largest,
            "squeeze" leaves them out, as the 2018 code: the head keeps their outputs, which no image ever has.
        backend: auto, faiss or torch; see :func:`choose_backend`.
        parallel: with several processes: "gather" clusters on the first, "shares" on all, each with its share of the
            images; auto goes by size. Equal up to the order in which floats are added.
    """

    kind: str = "kmeans"
    k: int = 50
    n_iter: int = 20  # original: clustering.py, run_kmeans
    n_redo: int = 1
    spherical: bool = False
    max_points_per_centroid: int | None = None  # original: 10_000_000, use every point (faiss's default is 256)
    empty: str = "repair"
    backend: str = "auto"
    parallel: str = "auto"

    def __post_init__(self) -> None:
        if self.k < 2:
            raise ValueError(f"clustering.k must be at least 2, got {self.k}")
        if self.n_iter < 1:
            raise ValueError(f"clustering.n_iter must be at least 1, got {self.n_iter}")
        if self.n_redo < 1:
            raise ValueError(f"clustering.n_redo must be at least 1, got {self.n_redo}")
        if self.max_points_per_centroid is not None and self.max_points_per_centroid < 1:
            raise ValueError(
                "clustering.max_points_per_centroid must be at least 1 (or null: all images), "
                f"got {self.max_points_per_centroid}"
            )
        if self.empty not in EMPTY:
            raise ValueError(f"clustering.empty must be one of {', '.join(EMPTY)}, got {self.empty}")
        if self.backend not in BACKENDS:
            raise ValueError(f"clustering.backend must be one of {', '.join(BACKENDS)}, got {self.backend}")
        if self.parallel not in PARALLEL:
            raise ValueError(f"clustering.parallel must be one of {', '.join(PARALLEL)}, got {self.parallel}")

    @property
    def n_updates(self) -> int:
        return self.n_iter * self.n_redo

    def capacity(self, n_images: int) -> int:
        return self.k

    def n_iterated(self, n_images: int) -> int:
        return (
            n_images if self.max_points_per_centroid is None else min(n_images, self.k * self.max_points_per_centroid)
        )

    def distances(self, n_images: int) -> float:
        return float(self.k) * self.n_redo * (self.n_iterated(n_images) * self.n_iter + n_images)

    def describe(self, device: torch.device | str) -> str:
        backend, why = choose_backend(self.backend, device)
        return f"K = {self.k}, {backend} ({why})"

    def check(self, n_images: int) -> None:
        """Refuse fewer images than clusters.

        Raises:
            ValueError: if n_images < k.
        """
        if n_images < self.k:
            raise ValueError(
                f"clustering.k={self.k} needs at least that many images, there are {n_images}; lower clustering.k"
            )

    @torch.no_grad()
    def fit(
        self,
        features: Tensor,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        progress: Callable[[int, int], None] | None = None,
    ) -> Assignment:
        """Cluster features (N, P): the same features, seed, backend and device give the same assignment.

        Beside the features it takes the memory of the images that are iterated on, in float32 (none if these are all
        and stored so), of blocks, and of some 40 bytes an image.

        Args:
            features: (N, P) float32 or float16, reduced; perhaps mapped from a file.
            seed: chooses the first centroids (and the images, with max_points_per_centroid).
            device: where the products are taken.
            progress: called with (iterations done, iterations in all) after each.

        Returns:
            An assignment on the CPU, without its reduction.

        Raises:
            ValueError: if N < k or a feature is NaN or infinite.
        """
        features, device = self.checked(features), torch.device(device)
        backend, _ = choose_backend(self.backend, device)
        lloyd = kmeans_faiss.lloyd if backend == "faiss" else kmeans_torch.lloyd
        if backend == "faiss" and device.type != "cuda":
            device = torch.device("cpu")
        features = _nearer(features, device)
        iterate = partial(lloyd, features, self.k, device=device)
        return self._best(iterate, lambda centroids: self._assign(features, centroids), seed, progress)

    def shares(self, n_images: int, dim: int) -> tuple[bool, str]:
        if self.parallel != "auto":
            return self.parallel == "shares", f"clustering.parallel={self.parallel}"
        n_products, n_bytes = n_images * self.k * dim, n_images * dim * 4
        if n_products >= SHARED_FROM_PRODUCTS:
            return True, f"N x K x P = {n_products:.1e}"
        if n_bytes >= SHARED_FROM_BYTES:
            return True, f"{n_bytes / 2**20:.0f} MB of reduced features"
        return False, f"N x K x P = {n_products:.1e} is little"

    @torch.no_grad()
    def fit_share(
        self,
        rows: Tensor,
        *,
        n_images: int,
        ranks: Ranks,
        seed: int,
        device: torch.device | str = "cpu",
        progress: Callable[[int, int], None] | None = None,
    ) -> Assignment:
        self.check(n_images)
        device = torch.device(device)
        backend, _ = choose_backend(self.backend, device)
        rows = rows.detach()
        share = Share(rows.to(device) if backend == "torch" or device.type == "cuda" else rows, n_images, ranks)
        share.check()
        iterate = partial(kmeans_parallel.lloyd, share, self.k, engine=backend)
        assign = partial(kmeans_parallel.assign, share, empty=self.empty, spherical=self.spherical)
        return self._best(iterate, assign, seed, progress)

    def _best(
        self,
        iterate: Callable[..., Tensor],
        assign: Callable[[Tensor], Assignment],
        seed: int,
        progress: Callable[[int, int], None] | None,
    ) -> Assignment:
        """The assignment of the smallest objective among n_redo starts."""
        best: Assignment | None = None
        for redo in range(self.n_redo):
            centroids = iterate(
                n_iter=self.n_iter,
                seed=seed + redo * REDO_SEED_STEP,
                spherical=self.spherical,
                max_points_per_centroid=self.max_points_per_centroid,
                progress=_shifted(progress, redo * self.n_iter, self.n_redo * self.n_iter),
            )
            found = assign(centroids)
            if best is None or found.objective < best.objective:
                best = found
        assert best is not None
        return best

    def _assign(self, features: Tensor, centroids: Tensor) -> Assignment:
        """All images to their nearest centroid, empty clusters seen to, objective of what came out."""
        labels = nearest_centroid(features, centroids)
        n_repaired = n_squeezed = 0
        if self.empty == "squeeze":
            labels, centroids, n_squeezed = squeeze_empty(labels, centroids)
        else:
            labels, centroids, n_repaired = repair_empty(features, labels, centroids)
        if self.spherical and n_repaired > 0:
            centroids = normalize(centroids, dim=1)
        return Assignment(
            labels=labels.cpu(),
            k=len(centroids),
            objective=squared_distance(features, labels, centroids),
            centroids=centroids.cpu(),
            n_repaired=n_repaired,
            n_squeezed=n_squeezed,
        )


def _nearer(features: Tensor, device: torch.device) -> Tensor:
    """On the device if there is room, else where they are, from where blocks go there: the same comes out."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if features.device != device and features.numel() * features.element_size() > DEVICE_SHARE * free:
            return features
    return features.to(device)


def choose_backend(backend: str, device: torch.device | str) -> tuple[str, str]:
    """The engine ("faiss" or "torch") and the reason: from facts, never from timings, so always the same.

    Raises:
        ValueError: if faiss is asked for where it cannot work.
    """
    device = torch.device(device)
    has_faiss = importlib.util.find_spec("faiss") is not None
    if backend == "torch":
        return "torch", "clustering.backend=torch"
    if backend == "faiss":
        if not has_faiss:
            raise ValueError("clustering.backend=faiss, but faiss is not installed; set clustering.backend=torch")
        if device.type == "cuda" and kmeans_faiss.n_gpus() == 0:
            raise ValueError("clustering.backend=faiss on a GPU, but faiss sees none; set clustering.backend=torch")
        return "faiss", "clustering.backend=faiss"
    if not has_faiss:
        return "torch", "faiss is not installed"
    if sys.platform == "darwin":
        return "torch", "torch and faiss bring an OpenMP each on macOS, which crashes"
    if device.type == "cpu":
        return "faiss", "faiss is installed and the device is a CPU"
    if device.type == "cuda":
        return "torch", "faster than faiss on a GPU"  # benchmarks/gpu_clustering.py
    return "torch", f"faiss does not serve {device.type}"


def _shifted(progress: Callable[[int, int], None] | None, before: int, n_total: int) -> Callable[[int], None] | None:
    """Progress of one run of several, told as progress of all."""
    if progress is None:
        return None
    return lambda done: progress(before + done, n_total)
