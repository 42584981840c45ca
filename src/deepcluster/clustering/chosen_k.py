"""What clusterings with a chosen K share: one labeling of the images, or several, each with its own head.

K is a number, or a list of them, or "auto": then run/k_choice.py chooses it before a network is trained, by k_scan.py,
and all that follows knows a clustering with that number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deepcluster.clustering.k_by_number import most_k
from deepcluster.clustering.method import Clustering
from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deepcluster.clustering.assignment import Assignment
    from deepcluster.clustering.ranks import Ranks

AUTO = "auto"
SCAN_FILE = "k_scan.json"  # in the run's folder: the K that "auto" has become, and why
SCAN_PICTURE = "k_scan.svg"  # beside it
GROUPS_FILE = "new_groups.json"  # of a run that follows another: the numbers of the images of each new group


@dataclass(kw_only=True)
class ChosenK(Clustering):
    """A clustering whose number of clusters is a setting.

    Args:
        k: number of clusters K, at most the number of images N; a list of them makes one labeling of each; "auto": a
            scan of the images at the run's start chooses it.
        n_labelings: that many labelings with the same K, from different seeds. Of no use with a list of K.
    """

    k: Any = setting(50, at_least=2)
    n_labelings: int = setting(1, at_least=1)

    def __post_init__(self) -> None:
        numbers = self.k if isinstance(self.k, list | tuple) else [self.k]
        if not self.chooses_k and (len(numbers) == 0 or any(not isinstance(k, int) for k in numbers)):
            shown = repr(self.k) if isinstance(self.k, str) else self.k
            raise ValueError(
                f"clustering.k must be an integer, or a list of integers such as [50,100], one of each labeling, or "
                f"auto; got {shown}"
            )
        check(self, "clustering")

    @property
    def chooses_k(self) -> bool:
        return bool(self.k == AUTO)

    def at_most(self, n_images: int) -> Clustering:
        return replace(self, k=most_k(n_images)) if self.chooses_k else self

    @property
    def ks(self) -> list[int]:
        """K of each labeling."""
        assert not self.chooses_k
        return list(self.k) if isinstance(self.k, list | tuple) else [self.k] * self.n_labelings

    def labelings(self) -> list[Clustering]:
        if self.chooses_k:
            return [replace(self, n_labelings=1)] * self.n_labelings
        return [replace(self, k=k, n_labelings=1) for k in self.ks]

    def capacity(self, n_images: int) -> int:
        return self.ks[0]

    def check(self, n_images: int) -> None:
        """Refuse fewer images than clusters.

        Raises:
            ValueError: if n_images < k.
        """
        largest = max(self.ks)
        if n_images < largest:
            raise ValueError(
                f"clustering.k={largest} needs at least that many images, there are {n_images}; lower clustering.k"
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
        n_images = len(features)
        self.check(n_images)
        return self._fit(
            features, n_images=n_images, ranks=None, seed=seed, device=device, progress=progress, start=start
        )

    def fit_share(
        self,
        rows: Tensor,
        *,
        n_images: int,
        ranks: Ranks,
        seed: int,
        device: torch.device | str = "cpu",
        progress: Callable[[int, int], None] | None = None,
        start: Tensor | None = None,
    ) -> Assignment:
        self.check(n_images)
        return self._fit(rows, n_images=n_images, ranks=ranks, seed=seed, device=device, progress=progress, start=start)

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
        """:meth:`fit`, where `ranks` is None, or :meth:`fit_share`."""
        raise NotImplementedError

    @property
    def only_k(self) -> int:
        """K of the only labeling, for :meth:`fit`.

        Raises:
            ValueError: if there are several labelings, which are fitted one by one.
        """
        if len(self.ks) > 1:
            raise ValueError(f"{self.words()} are {len(self.ks)} labelings; fit each of labelings() by itself")
        return self.ks[0]

    def words(self) -> str:
        """The numbers of clusters, to print: "K = 50", "K = 50, 100, 200" or "4 x K = 50"."""
        if isinstance(self.k, list | tuple) or self.n_labelings == 1:
            return f"K = {', '.join(map(str, self.ks))}"
        return f"{self.n_labelings} x K = {self.k}"
