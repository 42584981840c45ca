"""Settings of Sinkhorn on all images, read without importing torch. Next: sinkhorn_fit.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from deepcluster.clustering.chosen_k import ChosenK
from deepcluster.clustering.method import Clustering
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deepcluster.clustering.assignment import Assignment
    from deepcluster.clustering.ranks import Ranks

N_HALVINGS = 5  # of epsilon, from soft to as hard as asked for
# An entry of the plan takes as long as that many numbers of a distance, if all iterations are counted: it takes 30 to
# 200, and most stop after a tenth (20,000 images, 50 to 500 clusters: 2 to 17).
NUMBERS_PER_ENTRY = 10


@dataclass(kw_only=True)
class Sinkhorn(ChosenK):
    """Self-labelling (SeLa, Asano, Rupprecht and Vedaldi 2020): labels by scores, with clusters of about equal size.

    The rows that it clusters are a head's scores (N, K), log-probabilities in the paper. The label is the largest
    entry of the image's row of the transport plan. Nothing is random.

    Args:
        kind: "sinkhorn".
        epsilon: softness of the plan, 1 / lambda in the paper; the smaller, the more equal the sizes.
        n_iter: the most iterations at each of six epsilons: from 32 times this one it is halved, which is faster.
        tolerance: stop when the clusters' masses differ from N / K by this share of it on average.
    """

    needs_scores: ClassVar[bool] = True

    kind: str = "sinkhorn"
    epsilon: float = setting(0.04, above=0)  # original: lambda = 25
    n_iter: int = setting(50, at_least=1)
    tolerance: float = setting(0.01, at_least=0)

    def of_features(self) -> Clustering:
        from deepcluster.clustering.kmeans import KMeans

        return KMeans(k=self.ks[0])

    @property
    def n_updates(self) -> int:
        return (N_HALVINGS + 1) * self.n_iter * len(self.ks)

    def distances(self, n_images: int) -> float:
        # of rows of sum(ks) numbers, the scores of all labelings
        return float(NUMBERS_PER_ENTRY) * (N_HALVINGS + 1) * self.n_iter * n_images

    def describe(self, device: torch.device | str) -> str:
        return f"{self.words()}, Sinkhorn-Knopp on all images' scores, epsilon = {self.epsilon:g}"

    def shares(self, n_images: int, dim: int) -> tuple[bool, str]:
        return True, "every process keeps the scores of its images"

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
        """Label scores (N, K); seed and start are not used."""
        from deepcluster.clustering import sinkhorn_fit

        k = self.only_k
        if rows.ndim != 2 or rows.shape[1] != k:
            raise ValueError(
                f"clustering=sinkhorn with clustering.k={k} needs a head's scores (N, {k}), got rows of shape "
                f"{tuple(rows.shape)}"
            )
        return sinkhorn_fit.fit(
            rows,
            n_images=n_images,
            ranks=ranks,
            epsilon=self.epsilon,
            n_halvings=N_HALVINGS,
            n_iter=self.n_iter,
            tolerance=self.tolerance,
            device=device,
            progress=progress,
        )
