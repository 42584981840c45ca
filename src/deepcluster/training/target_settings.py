"""The group `targets`: what an image's scores are compared with. Read without importing torch. Next: targets.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    from deepcluster.training.targets import Targets

_OF_LOOKUP = "targets=lookup has it"
_OF_SINKHORN = "targets=sinkhorn has it"


@dataclass(kw_only=True)
class TargetSettings:
    """A kind of targets.

    Args:
        kind: its name, by which a stored config finds this class.
    """

    ABSENT: ClassVar[dict[str, str]] = {}
    needs_labels: ClassVar[bool] = True  # of a reassignment; if not, nothing is clustered while the network trains

    kind: str

    def __post_init__(self) -> None:
        check(self, "targets")

    @property
    def n_networks(self) -> int:
        """Networks that are trained together."""
        return 1

    def build(self, *, temperature: float) -> Targets:
        """Build the targets.

        Args:
            temperature: by which the head has divided cosines.
        """
        raise NotImplementedError


@dataclass(kw_only=True)
class LookupSettings(TargetSettings):
    """The image's cluster at the last reassignment, for each of its crops (all methods but SwAV).

    Args:
        kind: "lookup".
        label_smoothing: share of the target that is spread over all clusters (Szegedy et al. 2016); 0: none.
        softness: the temperature T of soft targets: an image's nearest centroids share its target by
            exp(-distance^2 / 2T), as in soft k-means (MacKay 2003); for rows of length 1 that is softmax(cosine / T).
            0: hard targets.
        n_soft: the nearest centroids that share the target.
        kept_share: learn only from this share of each batch, the images of the smallest losses, whose pseudo-labels
            are less often wrong ("small-loss selection", Han et al. 2018); 1: from all.
        kept_from_epoch: the first epoch (from 0) that leaves images out; before it the network cannot tell yet.
        kept_ramp_epochs: the share falls from 1 to kept_share in so many equal steps, one in each epoch from
            kept_from_epoch on (T_k of Han et al. 2018, who take 10); 0: at once.
        co_teaching: train a second network beside, from another start; each learns from the images that the other
            keeps (Han et al. 2018). It takes twice the time and memory.
    """

    ABSENT: ClassVar[dict[str, str]] = {
        name: _OF_SINKHORN for name in ("epsilon", "n_iter", "queue", "queue_from_epoch")
    }

    kind: str = "lookup"
    label_smoothing: float = setting(0.0, at_least=0, below=1)
    kept_share: float = setting(1.0, above=0, at_most=1)
    kept_from_epoch: int = setting(1, at_least=0)
    kept_ramp_epochs: int = setting(0, at_least=0)
    softness: float = setting(0.0, at_least=0)
    n_soft: int = setting(5, at_least=2)
    co_teaching: bool = False

    @property
    def n_networks(self) -> int:
        return 2 if self.co_teaching else 1

    def build(self, *, temperature: float) -> Targets:
        from deepcluster.training.targets import Lookup

        return Lookup(
            label_smoothing=self.label_smoothing,
            kept_share=self.kept_share,
            kept_from_epoch=self.kept_from_epoch,
            kept_ramp_epochs=self.kept_ramp_epochs,
        )


@dataclass(kw_only=True)
class SinkhornSettings(TargetSettings):
    """The assignment of the image's other large crop, balanced over the batch by Sinkhorn: SwAV (Caron et al. 2020).

    Args:
        kind: "sinkhorn".
        epsilon: the smaller, the harder the assignment (SwAV: 0.05).
        n_iter: Sinkhorn iterations (SwAV: 3).
        queue: embeddings of earlier images that are balanced together with the batch, for batches that are small
            beside K (SwAV: 3840 with batches of 256); 0: none. It is shared out among the processes.
        queue_from_epoch: the first epoch (from 0) that uses the queue (SwAV: 15 of 200).
    """

    ABSENT: ClassVar[dict[str, str]] = {
        name: _OF_LOOKUP
        for name in (
            *("label_smoothing", "softness", "n_soft"),
            *("kept_share", "kept_from_epoch", "kept_ramp_epochs", "co_teaching"),
        )
    }
    needs_labels: ClassVar[bool] = False

    kind: str = "sinkhorn"
    epsilon: float = setting(0.05, above=0)
    n_iter: int = setting(3, at_least=1)
    queue: int = setting(0, at_least=0)
    queue_from_epoch: int = setting(0, at_least=0)

    def build(self, *, temperature: float) -> Targets:
        from deepcluster.training.clusterer import process_ranks
        from deepcluster.training.targets import SwappedSinkhorn

        return SwappedSinkhorn(
            epsilon=self.epsilon,
            n_iter=self.n_iter,
            queue=self.queue,
            queue_from_epoch=self.queue_from_epoch,
            temperature=temperature,
            ranks=process_ranks,
        )
