"""Decide which epochs begin with a reassignment. reassign.py asks and does it."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepcluster.system.setting import check, setting


@dataclass(kw_only=True)
class Schedule:
    """How long an epoch is, and which epochs begin with new clusters.

    From the 2018 code's ``--reassign``, and the halting of "A Deep Dive into Deep Cluster".

    Args:
        epochs: length of a training epoch in multiples of the data set: an epoch draws ``int(epochs * N)``
            images. The 2018 code's ``--reassign`` (0.5: cluster twice per pass over the data; 3: at every third pass).
        every: epochs from one reassignment to the next; in between, labels stay and new images are drawn.
        halt_after: stop reassigning after this many reassignments and train on with the last labels
            (Deep Dive: "halting"); 1 clusters once; null never stops.
        stable_nmi: stop reassigning once NMI with the last assignment was at least this for
            `stable_patience` reassignments in a row; null never stops.
        stable_patience: see `stable_nmi`.
        stable_ends_training: once the clusters are stable, training ends with the current epoch.
    """

    epochs: float = setting(1.0, above=0, hint="1.0 is one pass over the images")
    every: int = setting(1, at_least=1, hint="1 reassigns at every epoch")
    halt_after: int | None = setting(None, at_least=1, hint="null never halts, 1 clusters once")
    stable_nmi: float | None = setting(None, above=0, at_most=1, hint="null switches it off")
    stable_patience: int = setting(2, at_least=1)
    stable_ends_training: bool = False

    def __post_init__(self) -> None:
        check(self, "reassign")

    def images_per_epoch(self, n_images: int) -> int:
        """The number of images drawn per epoch, the same in every epoch (at least 1)."""
        return max(1, int(self.epochs * n_images))

    def due(self, epoch: int, nmi_previous: Sequence[float]) -> bool:
        """Whether epoch number `epoch` (from 0) starts with a reassignment.

        Args:
            epoch: the epoch that is about to start.
            nmi_previous: NMI with the previous assignment, one value for each reassignment so far.
        """
        if not nmi_previous:
            return True  # training needs labels
        if self.halt_after is not None and len(nmi_previous) >= self.halt_after:
            return False
        return epoch % self.every == 0 and not self.stable(nmi_previous)

    def stable(self, nmi_previous: Sequence[float]) -> bool:
        """Whether the last `stable_patience` reassignments all agreed with the ones before them.

        The first value is left out, as it compares two assignments of the untrained network.
        """
        if self.stable_nmi is None:
            return False
        recent = nmi_previous[1:][-self.stable_patience :]
        return len(recent) == self.stable_patience and all(nmi >= self.stable_nmi for nmi in recent)
