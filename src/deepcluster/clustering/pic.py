"""Reduced features (N, P) -> Assignment by power iteration clustering, which finds the number of clusters itself.

neighbours.py finds the graph, pic_graph.py its clusters; here are the settings and what all clusterings promise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from deepcluster.clustering import kmeans_torch, pic_graph
from deepcluster.clustering.assignment import Assignment, squared_distance
from deepcluster.clustering.kmeans import BACKENDS, choose_backend
from deepcluster.clustering.merge import merge_smallest
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.neighbours import N_STEPS, Floats, Indices, nearest_neighbours

ARITHMETICS = ["float64", "float32"]
# What the head has room for unless max_k says so: in small sets half as many clusters as images, else an eighth.
# Found was 1 for 16 to 33 images (5,000 of Fashion-MNIST, 20,000 of CIFAR-10; untrained and trained).
SMALL_HEAD = 500
IMAGES_PER_CLUSTER = 8
LARGEST_HEAD = 65_536  # clusters; with 4096 features 1.1 GB of weights, and as much again of gradients


@dataclass(kw_only=True)
class PIC(Clustering):
    """Power iteration clustering, as DeepCluster's second way (Caron et al. 2018, appendix; Lin and Cohen 2010).

    The clusters are the hills of a landscape on the graph of nearest neighbours. Nothing in it is random: equal
    features give equal clusters, whatever the seed.

    Args:
        kind: "pic".
        n_neighbours: neighbours of each image in the graph.
        sigma: width of the weights exp(-d^2 / sigma^2).
        alpha: share of the neighbours' values in each iteration.
        n_iter: power iterations.
        distribute_singletons: images alone in their cluster join that of their nearest neighbour that is not.
        max_k: most clusters, the head's size; the smallest ones beyond it are merged into their nearest others.
            null: half of the images up to 500, an eighth of them above, at most 65,536.
        arithmetic: "float64" keeps all digits; "float32" is what the 2018 code computes: weights below 6e-5 are
            lost, and images farther than that from all others stay alone.
        drop_first_neighbour: take the first neighbour found for the image itself, as the 2018 code does; where
            images are equal it may be another.
        backend: of the neighbour search: auto, faiss or torch; see :func:`choose_backend`.
    """

    ABSENT: ClassVar[dict[str, str]] = {"k": "clustering=pic finds K itself, and clustering.max_k bounds it"}

    kind: str = "pic"
    n_neighbours: int = 5  # original: clustering.py, class PIC (nnn=5)
    sigma: float = 0.2  # original: class PIC
    alpha: float = 0.001  # original: run_pic
    n_iter: int = 200  # original: run_pic, without an early stop
    distribute_singletons: bool = True  # original: class PIC
    max_k: int | None = None
    arithmetic: str = "float64"
    drop_first_neighbour: bool = False
    backend: str = "auto"

    def __post_init__(self) -> None:
        if self.n_neighbours < 1:
            raise ValueError(f"clustering.n_neighbours must be at least 1, got {self.n_neighbours}")
        if not (self.sigma > 0 and 0 < self.sigma**2 < math.inf):
            raise ValueError(f"clustering.sigma must be above 0 and finite, got {self.sigma}")
        if not 0 < self.alpha < 1:
            raise ValueError(f"clustering.alpha must be between 0 and 1, both excluded, got {self.alpha}")
        if self.n_iter < 1:
            raise ValueError(f"clustering.n_iter must be at least 1, got {self.n_iter}")
        if self.max_k is not None and self.max_k < 2:
            raise ValueError(
                "clustering.max_k must be at least 2 (or null: as many as the number of images makes likely), "
                f"got {self.max_k}"
            )
        if self.arithmetic not in ARITHMETICS:
            raise ValueError(f"clustering.arithmetic must be one of {', '.join(ARITHMETICS)}, got {self.arithmetic}")
        if self.backend not in BACKENDS:
            raise ValueError(f"clustering.backend must be one of {', '.join(BACKENDS)}, got {self.backend}")

    @property
    def n_updates(self) -> int:
        return N_STEPS + 1  # all that follows the search takes a fraction of its time

    @property
    def k_is_fixed(self) -> bool:
        return False

    def capacity(self, n_images: int) -> int:
        if self.max_k is not None:
            return min(self.max_k, n_images)
        likely = max(n_images // IMAGES_PER_CLUSTER, min(n_images // 2, SMALL_HEAD))
        return max(1, min(likely, LARGEST_HEAD))

    @property
    def bytes_per_image(self) -> int:
        return 64 + 100 * self.n_neighbours  # indices, float64 distances, their order, the graph and its transpose

    def distances(self, n_images: int) -> float:
        return float(n_images) ** 2

    def describe(self, device: torch.device | str) -> str:
        backend, why = choose_backend(self.backend, device)
        return f"power iteration on {self.n_neighbours} neighbours, found by {backend} ({why}); it finds K itself"

    def check(self, n_images: int) -> None:
        """Refuse fewer images than neighbours.

        Raises:
            ValueError: if n_images <= n_neighbours.
        """
        if n_images <= self.n_neighbours:
            raise ValueError(
                f"clustering.n_neighbours={self.n_neighbours} needs at least {self.n_neighbours + 1} images, "
                f"there are {n_images}; lower clustering.n_neighbours"
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
        """Cluster features (N, P); the seed has no part in it.

        Args:
            features: (N, P) float32, reduced.
            seed: not used.
            device: where neighbours are searched.
            progress: called with (steps done, steps in all) after each.

        Returns:
            An assignment on the CPU, without its reduction. Its centroids are the clusters' means, so that new
            images have a nearest one; an image's own cluster need not be that of the nearest. Its objective is
            as in k-means; the 2018 code returned 0.

        Raises:
            ValueError: if N <= n_neighbours, a feature is NaN or infinite, or all weights vanish.
        """
        features, device = self.checked(features).float(), torch.device(device)
        backend, _ = choose_backend(self.backend, device)
        n_done = 0

        def advance() -> None:
            nonlocal n_done
            n_done += 1
            if progress is not None:
                progress(n_done, self.n_updates)

        neighbours, distances = nearest_neighbours(
            features.to(device if backend == "torch" or device.type == "cuda" else "cpu"),
            self.n_neighbours,
            backend=backend,
            drop_first=self.drop_first_neighbour,
            progress=advance,
        )
        assignment = self.cluster(features.cpu(), neighbours, distances)
        advance()
        return assignment

    def cluster(self, features: Tensor, neighbours: Indices, squared_distances: Floats) -> Assignment:
        """What follows the search: features (N, P) on the CPU, neighbours and squared distances (N, n)."""
        labels = torch.from_numpy(self._climb(neighbours, squared_distances))
        labels, n_merged = merge_smallest(labels, _means(features, labels), self.capacity(len(features)))
        centroids = _means(features, labels)
        return Assignment(
            labels=labels,
            k=len(centroids),
            objective=squared_distance(features, labels, centroids),
            centroids=centroids,
            n_merged=n_merged,
        )

    def _climb(self, neighbours: Indices, squared_distances: Floats) -> Indices:
        """The cluster of each image, all that were found."""
        dtype = np.float32 if self.arithmetic == "float32" else np.float64
        graph = pic_graph.adjacency(neighbours, squared_distances, self.sigma, dtype)
        if graph.nnz == 0:
            nearest = math.sqrt(squared_distances.min())
            raise ValueError(
                f"clustering.sigma={self.sigma} is too small for these features: the nearest two are {nearest:.3g} "
                "apart and every weight is 0; raise it, or set reduction=pca_whiten or l2, which give unit vectors"
            )
        iterate = pic_graph.float32_height if self.arithmetic == "float32" else pic_graph.height
        labels = pic_graph.climb(graph, iterate(graph, alpha=self.alpha, n_iter=self.n_iter))
        return pic_graph.join_lone(labels, neighbours) if self.distribute_singletons else labels


def _means(features: Tensor, labels: Tensor) -> Tensor:
    """The mean of each cluster (K, P); every one has members."""
    return kmeans_torch.update(features, labels, features.new_zeros(int(labels.max()) + 1, features.shape[1]))
