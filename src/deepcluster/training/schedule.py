"""When to reassign: a pure decision per epoch. reassign.py asks it and acts."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(kw_only=True)
class Schedule:
    """The reassign schedule (the 2018 code's ``--reassign``, and the halting of "A Deep Dive").

    Args:
        epochs: length of a training epoch in multiples of the data set: an epoch draws ``int(epochs * N)``
            images. The 2018 code's ``--reassign`` (0.5: cluster twice per data-set pass; 3: every third).
        every: reassign at every so many epochs; in between the labels stay and new images are drawn.
        halt_after: stop reassigning after this many reassignments and train on with the last labels
            (Deep Dive: "halting"); 1 clusters once; None never halts.
        stable_nmi: stop reassigning once NMI with the last assignment was at least this for
            `stable_patience` reassignments running; None never.
        stable_patience: see `stable_nmi`.
        stable_ends_training: when stable, the epoch with these labels is the last of the training.
    """

    epochs: float = 1.0
    every: int = 1
    halt_after: int | None = None
    stable_nmi: float | None = None
    stable_patience: int = 2
    stable_ends_training: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.epochs < float("inf"):
            raise ValueError(f"reassign.epochs must be above 0, got {self.epochs}; 1.0 is one pass over the images")
        if self.every < 1:
            raise ValueError(f"reassign.every must be at least 1, got {self.every}; 1 reassigns at every epoch")
        if self.halt_after is not None and self.halt_after < 1:
            raise ValueError(
                f"reassign.halt_after must be at least 1, got {self.halt_after}; null never halts, 1 clusters once"
            )
        if self.stable_nmi is not None and not 0 < self.stable_nmi <= 1:
            raise ValueError(f"reassign.stable_nmi must be in (0, 1], got {self.stable_nmi}; null switches it off")
        if self.stable_patience < 1:
            raise ValueError(f"reassign.stable_patience must be at least 1, got {self.stable_patience}")

    def images_per_epoch(self, n_images: int) -> int:
        """The number of images drawn per epoch, the same in every epoch (at least 1)."""
        return max(1, int(self.epochs * n_images))

    def due(self, epoch: int, nmi_previous: Sequence[float]) -> bool:
        """Whether epoch number `epoch` (from 0) starts with a reassignment.

        Args:
            epoch: the epoch that is about to start.
            nmi_previous: NMI with the assignment before, one for each reassignment done so far.
        """
        if not nmi_previous:
            return True  # without any labels there is nothing to train on
        if self.halt_after is not None and len(nmi_previous) >= self.halt_after:
            return False
        return epoch % self.every == 0 and not self.stable(nmi_previous)

    def stable(self, nmi_previous: Sequence[float]) -> bool:
        """Whether the last `stable_patience` reassignments all agreed with the ones before them.

        The first value is left out: it compares with the untrained network, before anything was learned.
        """
        if self.stable_nmi is None:
            return False
        recent = nmi_previous[1:][-self.stable_patience :]
        return len(recent) == self.stable_patience and all(nmi >= self.stable_nmi for nmi in recent)
