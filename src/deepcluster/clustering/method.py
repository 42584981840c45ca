"""What all ways to cluster share: reduced features (N, P) in, Assignment out. kmeans.py and pic.py are two.

A way to cluster is a settings dataclass; the config group `clustering` chooses it (settings/options.py). Settings are
read without torch: what computes is imported by `fit`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deepcluster.clustering.assignment import Assignment
    from deepcluster.clustering.ranks import Ranks


@dataclass(kw_only=True)
class Clustering:
    """A way to cluster.

    Args:
        kind: its name, by which a stored config finds the class again.
    """

    ABSENT: ClassVar[dict[str, str]] = {}  # keys that only other ways have, with what to set instead

    kind: str

    @property
    def n_updates(self) -> int:
        """How many times :meth:`fit` calls its progress."""
        raise NotImplementedError

    @property
    def k_is_fixed(self) -> bool:
        """Whether every assignment has exactly as many clusters as :meth:`capacity` says, or at most so many."""
        return True

    def check(self, n_images: int) -> None:
        """Refuse a number of images that cannot be clustered.

        Raises:
            ValueError: naming the key, its value, the number of images and the way out.
        """
        raise NotImplementedError

    def capacity(self, n_images: int) -> int:
        """The most clusters that :meth:`fit` can make of so many images: the head's size."""
        raise NotImplementedError

    def describe(self, device: torch.device | str) -> str:
        """One line for the start of a run: what will be done, by which engine and why."""
        raise NotImplementedError

    def n_iterated(self, n_images: int) -> int:
        """How many of so many images are iterated on; fewer than all are copied for that."""
        return n_images

    @property
    def bytes_per_image(self) -> int:
        """About what :meth:`fit` holds of an image beside its features: labels, orders, distances."""
        return 64

    def distances(self, n_images: int) -> float:
        """How many distances :meth:`fit` takes of so many images, with which its time grows."""
        raise NotImplementedError

    def fit(
        self,
        features: Tensor,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        progress: Callable[[int, int], None] | None = None,
    ) -> Assignment:
        """Cluster features (N, P), float32 or float16: the same features, seed and device give the same assignment.

        Args:
            features: (N, P), reduced; perhaps mapped from a file.
            seed: decides whatever is random in it.
            device: where the products are taken.
            progress: called with (updates done, updates in all) after each.

        Returns:
            An assignment on the CPU, without its reduction.

        Raises:
            ValueError: if there are too few images, or a feature is NaN or infinite.
        """
        raise NotImplementedError

    def shares(self, n_images: int, dim: int) -> tuple[bool, str]:
        """Whether several processes each keep their share of the features (N, P) and cluster together, and why.

        If not, the features are gathered and one process calls :meth:`fit`.
        """
        return False, f"{self.kind} needs all features in one place"

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
        """:meth:`fit` by G processes together; each calls it and gets the assignment of all N images.

        Args:
            rows: this process's rows (n, P): the images ``[rank::G]``.
            n_images: N.
            ranks: what the processes offer.
        """
        raise NotImplementedError
