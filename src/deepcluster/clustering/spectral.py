"""Settings of spectral clustering, read without importing torch. Next: diffusion.py makes the coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from deepcluster.clustering.backend import choose_backend
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.method import Clustering
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from torch import Tensor

    from deepcluster.clustering.assignment import Assignment
    from deepcluster.clustering.ranks import Ranks

# Eigenvectors, for each pair of Lanczos vectors, cost as much of an image as so many distances: 0.7 to 1.9 for 10,000
# to 40,000 garments, 64 coordinates.
LANCZOS = 1.3


@dataclass(kw_only=True)
class Spectral(KMeans):
    """k-means in the coordinates of a diffusion on the graph of nearest neighbours.

    Distances between rows tell who is near, but little of who is far. A random walk from neighbour to neighbour links
    images that are alike by way of others between them; k-means then cuts where few steps lead across (Ng, Jordan and
    Weiss 2001; Coifman and Lafon 2006). Clusters are of any shape, so the centroids, the means of their images in the
    space of the rows, assign new images nearly but not exactly as the graph did.

    Args:
        kind: "spectral".
        n_neighbours: of each image in the graph; an edge counts twice if both are neighbours of each other.
        n_coordinates: eigenvectors that are kept.
        diffusion_time: steps of the walk: the longer, the less the finer directions count.
    """

    kind: str = "spectral"
    n_neighbours: int = setting(10, at_least=1)
    n_coordinates: int = setting(64, at_least=2)
    diffusion_time: float = setting(8.0, at_least=0)

    @property
    def labels_are_nearest(self) -> bool:
        return False

    @property
    def bytes_per_image(self) -> int:
        return 64 + 60 * self.n_neighbours + 8 * (3 * self.n_coordinates + 20)  # graph and its transpose, Krylov space

    def check(self, n_images: int) -> None:
        super().check(n_images)
        if self.empty == "keep":
            raise ValueError(
                "clustering.empty=keep keeps an empty cluster's centroid, and clustering=spectral has the means of the "
                "clusters' images as centroids; set clustering.empty=repair"
            )
        if n_images <= self.n_neighbours:
            raise ValueError(
                f"clustering.n_neighbours={self.n_neighbours} needs at least {self.n_neighbours + 1} images, "
                f"there are {n_images}; lower clustering.n_neighbours"
            )

    def distances(self, n_images: int) -> float:
        return self.graph_distances(n_images) + super().distances(n_images)

    def graph_distances(self, n_images: int) -> float:
        """Those of :meth:`distances` that are for the graph and its eigenvectors, once for all labelings."""
        n_lanczos = 2 * self.n_coordinates + 20  # vectors of diffusion.py, each made orthogonal to the others
        return n_images * (n_images + LANCZOS * n_lanczos**2)

    def describe(self, device: Any) -> str:
        return f"{super().describe(device)}, in diffusion coordinates of {self.n_neighbours} neighbours"

    def shares(self, n_images: int, dim: int) -> tuple[bool, str]:
        return False, "the graph of neighbours needs all rows in one place"

    def _fit(
        self,
        rows: Tensor,
        *,
        n_images: int,
        ranks: Ranks | None,
        seed: int,
        device: Any,
        progress: Callable[[int, int], None] | None,
        start: Tensor | None,
    ) -> Assignment:
        from deepcluster.clustering import diffusion
        from deepcluster.clustering.assignment import checked_features

        checked = checked_features(rows)
        engine, _ = choose_backend(self.backend, device)
        settings = (self.n_neighbours, self.n_coordinates, self.diffusion_time, engine, str(device))
        coordinates = diffusion.same_for_all_labelings(rows, lambda: self.coordinates(checked, device), settings)
        found = super()._fit(
            coordinates, n_images=n_images, ranks=None, seed=seed, device=device, progress=progress, start=start
        )
        return diffusion.in_space_of(checked.cpu(), found)

    def coordinates(self, rows: Tensor, device: Any) -> Tensor:
        """The coordinates (N, C) in which rows (N, P) are clustered."""
        from deepcluster.clustering import diffusion
        from deepcluster.clustering.assignment import engine_device

        engine, _ = choose_backend(self.backend, device)
        return diffusion.coordinates(
            rows.to(engine_device(engine, device)).float(),
            n_neighbours=self.n_neighbours,
            n_coordinates=self.n_coordinates,
            time=self.diffusion_time,
            engine=engine,
        )


def by_graph(clustering: Clustering, n_neighbours: int) -> Spectral:
    """The same k-means, in diffusion coordinates of n neighbours; it keeps no cluster empty, see Spectral.check."""
    assert isinstance(clustering, KMeans)
    of_kmeans = {field.name: getattr(clustering, field.name) for field in fields(KMeans) if field.name != "kind"}
    if clustering.empty == "keep":
        of_kmeans["empty"] = "repair"
    return Spectral(**of_kmeans, n_neighbours=n_neighbours)
