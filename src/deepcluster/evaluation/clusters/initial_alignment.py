"""evaluation=initial_alignment: how well clusters of an untrained network's features fit the labels.

It helps to choose K and PCA before training. "A Deep Dive into Deep Cluster" calls the NMI of clusters and labels
initial alignment, and chooses by its median over 100 networks. Here are the settings. Next: untrained_clusters.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting


@dataclass(kw_only=True)
class InitialAlignment(Evaluator):
    """NMI between labels and clusters of untrained networks' features, over seeds, for every K and dimension.

    It is called without ckpt: arch, init, data and view name the networks and the images. For each seed, network, PCA
    and k-means are those of the untrained clustering with which `train.py seed=SEED` compares its first epoch.

    Args:
        kind: "initial_alignment".
        k: numbers of clusters.
        dim: numbers of dimensions after PCA; null: no PCA.
        n_seeds: number of networks; their seeds are seed, seed + 1, ...
        whiten: scale every PCA direction to unit variance; without PCA nothing is whitened.
        l2: afterwards divide every row by its length.
        layer: what is clustered: "features", as in training, or "last_stage", the maps of the last stage, flattened.
        n_iter: iterations of k-means.
        start: where k-means begins: at "images" that the seed draws, all alike, or by "kmeans++" far from each other.
        max_images: use at most this many images, drawn by the seed; null: all. All their features are held in memory.
        nmi_average: which mean of the two entropies NMI is divided by.
        label_free: also compute silhouette, predictability and agreement.
        silhouette_images: number of images for the silhouette; time grows with its square.
        predictor_images: number of images from whose pixels the clusters are predicted: half to train on, half to test.
        predictor_dim: number of principal components of the pixels to use.
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
    start: str = setting("images", one_of=("images", "kmeans++"))
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
        """All (k, dim) to measure."""
        return [(k, dim) for dim in self.dim for k in self.k]
