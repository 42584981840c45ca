"""What every clustering method offers: reduced features (N, P) in, Assignment out. Next: kmeans.py, pic.py.

A method is a settings dataclass, which the config group `clustering` chooses (settings/options.py). Settings are read
without importing torch: `fit` imports what computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deepcluster.clustering.assignment import Assignment
    from deepcluster.clustering.ranks import Ranks


@dataclass(kw_only=True)
class Clustering:
    """A clustering method.

    Args:
        kind: the method's name, by which a stored config finds this class.
        match: after each reassignment, number the clusters so that as many images as possible keep their label
            (matching.py). The clusters themselves stay as they are.
    """

    ABSENT: ClassVar[dict[str, str]] = {}  # keys that only other methods have -> what to set instead
    needs_scores: ClassVar[bool] = False  # the rows are a head's scores (N, K), not features

    kind: str
    match: bool = False

    def labelings(self) -> list[Clustering]:
        """The labelings that this clustering makes, one for each head: each is fitted by itself, with its own seed.

        The other methods of a clustering with several labelings tell of all of them together: :meth:`check` refuses
        what one of them refuses, :attr:`n_updates` and :meth:`distances` are sums, :meth:`capacity` is the first's.
        """
        return [self]

    @property
    def chooses_k(self) -> bool:
        """Whether K is to be chosen at the start of the run (clustering.k=auto)."""
        return False

    def at_most(self, n_images: int) -> Clustering:
        """Itself; where K is to be chosen, with the largest K that may be chosen for n_images images."""
        return self

    def of_features(self) -> Clustering:
        """What clusters the backbone's features for figures and at the end: itself, unless it needs scores."""
        return self

    def continuing(self) -> Clustering:
        """The same for clusters that go on from the last ones: their numbers stay, and they are where it starts."""
        return replace(self, match=True)

    @property
    def n_updates(self) -> int:
        """The number of times that :meth:`fit` calls `progress`."""
        raise NotImplementedError

    @property
    def k_is_fixed(self) -> bool:
        """Whether every assignment has exactly :meth:`capacity` clusters; if not, that is the most it can have."""
        return True

    @property
    def labels_are_nearest(self) -> bool:
        """Whether each image's label is its nearest centroid, so that soft labels by distance suit."""
        return False

    def check(self, n_images: int) -> None:
        """Refuse too few images.

        Raises:
            ValueError: naming the key, its value, the number of images and the way out.
        """
        raise NotImplementedError

    def capacity(self, n_images: int) -> int:
        """The most clusters that :meth:`fit` can make of n_images images; the head has this many outputs."""
        raise NotImplementedError

    def describe(self, device: torch.device | str) -> str:
        """One line for the start of a run: what will be done, by which engine and why."""
        raise NotImplementedError

    def n_iterated(self, n_images: int) -> int:
        """The number of images that are iterated on; a sample of fewer than n_images is copied in memory."""
        return n_images

    @property
    def bytes_per_image(self) -> int:
        """About the memory that :meth:`fit` takes for each image beside its features: labels, orders, distances."""
        return 64

    def distances(self, n_images: int) -> float:
        """The number of distances that :meth:`fit` computes for n_images images; its time grows with it."""
        raise NotImplementedError

    def fit(
        self,
        features: Tensor,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        progress: Callable[[int, int], None] | None = None,
        start: Tensor | None = None,
    ) -> Assignment:
        """Cluster features (N, P), float32 or float16: the same features, seed and device give the same assignment.

        Args:
            features: (N, P), reduced; perhaps mapped from a file.
            seed: of everything random.
            device: where the products are taken.
            progress: called with (updates done, updates in all) after each update.
            start: (N,) int64, the last labels of the same images, -1 where there is none; used only by methods whose
                settings ask for it.

        Returns:
            An assignment on the CPU, without its reduction.

        Raises:
            ValueError: if there are too few images, or a feature is NaN or infinite.
        """
        raise NotImplementedError

    def shares(self, n_images: int, dim: int) -> tuple[bool, str]:
        """Whether several processes cluster together, each with its share of the features (N, P), and why.

        If not, one process gathers the features and calls :meth:`fit`.
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
        start: Tensor | None = None,
    ) -> Assignment:
        """:meth:`fit` by G processes together: each calls this and gets the assignment of all N images.

        Args:
            rows: this process's rows (n, P): the images ``[rank::G]``.
            n_images: N.
            ranks: what the processes offer.
            start: as :meth:`fit` takes it, of all N images.
        """
        raise NotImplementedError
