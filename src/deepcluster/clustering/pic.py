"""Settings of power iteration clustering, read without importing torch. Next: neighbours.py, then pic_fit.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from deepcluster.clustering.backend import BACKENDS, choose_backend
from deepcluster.clustering.method import Clustering
from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deepcluster.clustering.assignment import Assignment
    from deepcluster.clustering.neighbours import Floats, Indices

N_STEPS = 100  # parts of the neighbour search, after each of which progress is reported
# The head's size unless max_k sets it: half as many clusters as images in small sets, else an eighth. Measured: one
# cluster for 16 to 33 images (5,000 of Fashion-MNIST, 20,000 of CIFAR-10; untrained and trained).
SMALL_HEAD = 500
IMAGES_PER_CLUSTER = 8
LARGEST_HEAD = 65_536  # clusters; with 4096 features 1.1 GB of weights and as much for their gradients


@dataclass(kw_only=True)
class PIC(Clustering):
    """Power iteration clustering (PIC), DeepCluster's alternative to k-means (Caron et al. 2018, appendix).

    Power iteration gives each image a value on the graph of nearest neighbours (Lin and Cohen 2010). From every image
    one climbs to neighbours of higher value; images that reach the same top are a cluster. Nothing is random: equal
    features give equal clusters, whatever the seed.

    Args:
        kind: "pic".
        n_neighbours: neighbours of each image in the graph.
        sigma: width of the weights exp(-d^2 / sigma^2).
        alpha: share of the neighbours' values in each iteration.
        n_iter: power iterations.
        distribute_singletons: an image alone in its cluster joins that of its nearest neighbour that is not alone.
        max_k: the most clusters, which is the head's size; the smallest ones beyond it are merged into their nearest
            others. null: half as many as images up to 500, above an eighth as many, at most 65,536.
        drop_first_neighbour: take the first neighbour for the image itself, as the 2018 code does; among equal
            images it may be another.
        backend: of the neighbour search: auto, faiss or torch; see :func:`choose_backend`.
    """

    ABSENT: ClassVar[dict[str, str]] = {"k": "clustering=pic finds K itself; clustering.max_k limits it"}

    kind: str = "pic"
    n_neighbours: int = setting(5, at_least=1)  # original: clustering.py, class PIC (nnn=5)
    sigma: float = setting(0.2, above=0)  # original: class PIC
    alpha: float = setting(0.001, above=0, below=1)  # original: run_pic
    n_iter: int = setting(200, at_least=1)  # original: run_pic, without an early stop
    distribute_singletons: bool = True  # original: class PIC
    max_k: int | None = setting(None, at_least=2, hint="null chooses it by the number of images")
    drop_first_neighbour: bool = False
    backend: str = setting("auto", one_of=BACKENDS)

    def __post_init__(self) -> None:
        check(self, "clustering")
        if not 0 < self.sigma**2 < float("inf"):
            raise ValueError(f"clustering.sigma must be above 0 and its square a number, got {self.sigma}")

    @property
    def n_updates(self) -> int:
        return N_STEPS + 1  # the last one: all that follows the search

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

    def fit(
        self,
        features: Tensor,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        progress: Callable[[int, int], None] | None = None,
        start: Tensor | None = None,
    ) -> Assignment:
        """Cluster features (N, P); seed and start are not used.

        Raises:
            ValueError: if N <= n_neighbours, a feature is NaN or infinite, or all weights are 0.
        """
        from deepcluster.clustering.assignment import checked_features, engine_device
        from deepcluster.clustering.neighbours import nearest_neighbours

        self.check(len(features))
        engine, _ = choose_backend(self.backend, device)
        features = checked_features(features).float()
        n_done = 0

        def advance() -> None:
            nonlocal n_done
            n_done += 1
            if progress is not None:
                progress(n_done, self.n_updates)

        neighbours, distances = nearest_neighbours(
            features.to(engine_device(engine, device)),
            self.n_neighbours,
            backend=engine,
            drop_first=self.drop_first_neighbour,
            n_steps=N_STEPS,
            progress=advance,
        )
        assignment = self.cluster(features.cpu(), neighbours, distances)
        advance()
        return assignment

    def cluster(self, features: Tensor, neighbours: Indices, squared_distances: Floats) -> Assignment:
        """What follows the search: features (N, P) on the CPU, neighbours and squared distances (N, n)."""
        from deepcluster.clustering import pic_fit

        return pic_fit.cluster(
            features,
            neighbours,
            squared_distances,
            sigma=self.sigma,
            alpha=self.alpha,
            n_iter=self.n_iter,
            distribute_singletons=self.distribute_singletons,
            max_k=self.capacity(len(features)),
        )
