"""How well do clusters of an untrained network's features fit the labels? To choose K and PCA before any training.

"A Deep Dive into Deep Cluster" calls the NMI of the two initial alignment and chooses by its median over 100 networks.
These are the settings; untrained_clusters.py measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting


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
        nmi_average: mean of the two entropies by which NMI is divided.
        label_free: also compute silhouette, predictability and agreement.
        silhouette_images: images of the sample for the silhouette; its time grows with the square.
        predictor_images: images from whose pixels pseudo-labels are predicted: half to learn, half to test.
        predictor_dim: principal components of the pixels that are used.
    """

    needs_checkpoint: ClassVar[bool] = False

    kind: str = "initial_alignment"
    k: list[int] = setting([5, 10, 20], at_least=2)
    dim: list[int | None] = setting([None], at_least=1)
    n_seeds: int = setting(100, at_least=1)  # Deep Dive
    whiten: bool = True
    l2: bool = True
    layer: str = setting("features", one_of=("features", "last_stage"))
    n_iter: int = setting(20, at_least=1)
    max_images: int | None = setting(None, at_least=20, hint="null takes all")
    nmi_average: str = setting("arithmetic", one_of=("arithmetic", "geometric"))
    label_free: bool = True
    silhouette_images: int = setting(2000, at_least=10)
    predictor_images: int = setting(10_000, at_least=20)
    predictor_dim: int = setting(128, at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, values in (("k", self.k), ("dim", self.dim)):
            if not values or len(set(values)) < len(values):
                raise ValueError(f"evaluation.{name} must list at least one value, and none twice, got {list(values)}")

    @property
    def pairs(self) -> list[tuple[int, int | None]]:
        """All (k, dim) that are measured."""
        return [(k, dim) for dim in self.dim for k in self.k]
