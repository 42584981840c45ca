"""The conductor: at an epoch's start it has the images clustered and delivers labels (docs/design.md, contract 4).

The only part that knows all others. schedule.py decides when; module.py learns the labels that are delivered here.
"""

import logging
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.collapse import tell_collapse
from deepcluster.clustering.describe import describe, describe_draw
from deepcluster.clustering.history import write_assignment
from deepcluster.data.sampler import Sampler
from deepcluster.models.backbone import Backbone
from deepcluster.system import distributed
from deepcluster.system.seeding import generator
from deepcluster.training.clusterer import Clusterer
from deepcluster.training.module import DeepClusterModule
from deepcluster.training.record import RunRecord
from deepcluster.training.schedule import Schedule

_log = logging.getLogger(__name__)


class ReassignCallback(pl.Callback):
    """Gives the module new pseudo-labels when the schedule says so, and the loader the indices of each epoch.

    `begin_epoch` may be called any number of times in an epoch; only the first call reassigns. The epoch's hook calls
    it, and so does the loader before it draws its first index, because Lightning skips the hook after some resumes
    (docs/design.md, contract 2).

    Args:
        clusterer: clusters the images by a network's features.
        schedule: decides which epochs begin with a reassignment.
        sampler: decides which images an epoch draws.
        labels: (N,) true labels, for the logged numbers only; -1 for an image without one; None without labels.
        folder: where each assignment is written; None: nowhere.
        seed: of the run.
        nmi_average: how NMI is normalised, see clustering/metrics.py.
        record: logs the numbers of each reassignment.
    """

    def __init__(
        self,
        *,
        clusterer: Clusterer,
        schedule: Schedule,
        sampler: Sampler,
        labels: Tensor | None,
        folder: Path | None,
        seed: int,
        nmi_average: str = "arithmetic",
        record: RunRecord | None = None,
    ) -> None:
        self.clusterer = clusterer
        self.schedule = schedule
        self.sampler = sampler
        self.labels = labels
        self.folder = folder
        self.seed = seed
        self.nmi_average = nmi_average
        self.record = record or RunRecord()
        self.assignment: Assignment | None = None  # the current one; before the first reassignment see compare_with
        self.version = -1  # the epoch of the last reassignment
        self.nmi_previous: list[float] = []
        self.n_repaired = 0
        self.n_merged = 0
        self.seconds = {"features_s": 0.0, "reduction_s": 0.0, "clustering_s": 0.0, "training_s": 0.0}
        self.latest: dict[str, float] = {}  # metrics of the last reassignment
        self.epoch_training_s = 0.0
        self._training_since: float | None = None
        self._has_warned = False
        self._delivered = -1  # the version that the module holds

    @property
    def n_images_per_epoch(self) -> int:
        """Images drawn per epoch over all ranks."""
        return self.schedule.images_per_epoch(len(self.clusterer.images))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_if_stable(trainer)  # a resumed run whose clusters were stable has nothing left to do

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.begin_epoch(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._count_training_time()
        self._stop_if_stable(trainer)

    def compare_with(self, assignment: Assignment) -> None:
        """Set the untrained network's assignment, with which the first reassignment is compared."""
        self.assignment = assignment

    def begin_epoch(self, trainer: pl.Trainer) -> tuple[int, Tensor]:
        """Reassign if due and not done yet, deliver the labels, and draw the epoch's images.

        Returns:
            The epoch and the indices (n,) of the images it draws, the same on every rank.
        """
        module, epoch = trainer.lightning_module, trainer.current_epoch
        assert isinstance(module, DeepClusterModule)
        if self.version < epoch and self.schedule.due(epoch, self.nmi_previous):
            self._count_training_time()
            self._reassign(module, epoch)
        if module.pseudo_labels is None or self._delivered != self.version:
            assert self.assignment is not None
            module.take_labels(self.assignment.labels)
            self._delivered = self.version
        if self._training_since is None:
            self._training_since = time.perf_counter()
        return epoch, self.indices(epoch)

    def indices(self, epoch: int) -> Tensor:
        """The images that epoch number `epoch` draws under the current assignment, (n,)."""
        assert self.assignment is not None
        draw = generator(self.seed, "sampler", epoch)
        return self.sampler.indices(self.assignment.labels, self.assignment.k, self.n_images_per_epoch, draw)

    def final(self, backbone: Backbone, *, device: torch.device) -> tuple[Assignment, dict[str, float]]:
        """Cluster once more with the trained network, so that the final clusters belong to the final weights.

        Returns:
            The assignment, and its numbers from :func:`deepcluster.clustering.describe.describe`.
        """
        previous = self.assignment
        assignment, seconds = self.clusterer.assign(backbone, device=device, moment="final")
        numbers = describe(assignment, previous, self.labels, self.nmi_average)
        self._write("final", self.version + 1, assignment)
        self._take(assignment, seconds)
        return assignment, numbers

    def _reassign(self, module: DeepClusterModule, epoch: int) -> None:
        previous = self.assignment
        assignment, seconds = self.clusterer.assign(module.backbone, device=module.device, moment=f"epoch {epoch}")
        numbers = distributed.on_rank_zero(
            "comparison", lambda: describe(assignment, previous, self.labels, self.nmi_average)
        )
        self._write(f"epoch_{epoch:05d}", epoch, assignment)
        self._take(assignment, seconds)
        self._warn(epoch, tell_collapse(assignment))
        self.version = epoch
        self.nmi_previous.append(numbers.get("nmi_previous", 0.0))
        numbers |= describe_draw(assignment, self.indices(epoch))
        module.follow(assignment, generator(self.seed, "head", epoch))
        self.latest = {f"cluster/{name}": value for name, value in numbers.items()}
        self.latest |= {f"time/{name}": value for name, value in seconds.items()}
        self.record.reassigned(epoch, self.latest, assignment, len(self.nmi_previous))

    def _write(self, name: str, epoch: int, assignment: Assignment) -> None:
        folder = self.folder
        if folder is not None:  # an error on rank 0 is raised on all ranks, as the others would wait for rank 0
            distributed.on_rank_zero(
                "writing the assignment", lambda: write_assignment(folder, name, epoch, assignment)
            )

    def _warn(self, epoch: int, sentence: str | None) -> None:
        """Log in the main process that a clustering says nothing, the first time only."""
        if sentence is not None and not self._has_warned and distributed.is_main_process():
            _log.warning("epoch %d: %s", epoch + 1, sentence)
            self._has_warned = True

    def _stop_if_stable(self, trainer: pl.Trainer) -> None:
        if self.schedule.stable_ends_training and self.schedule.stable(self.nmi_previous):
            trainer.should_stop = True

    def _count_training_time(self) -> None:
        if self._training_since is not None:
            self.epoch_training_s = time.perf_counter() - self._training_since
            self.seconds["training_s"] += self.epoch_training_s
            self._training_since = None

    def _take(self, assignment: Assignment, seconds: dict[str, float]) -> None:
        """Make an assignment the current one; add up its seconds, repairs and merges."""
        self.assignment = assignment
        self.n_repaired += assignment.n_repaired
        self.n_merged += assignment.n_merged
        for name, value in seconds.items():
            self.seconds[name] += value

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain containers (docs/design.md, contract 7)."""
        elapsed = 0.0 if self._training_since is None else time.perf_counter() - self._training_since
        return {
            "assignment": None if self.assignment is None else self.assignment.state_dict(),
            "version": self.version,
            "nmi_previous": list(self.nmi_previous),
            "n_repaired": self.n_repaired,
            "n_merged": self.n_merged,
            "seconds": {**self.seconds, "training_s": self.seconds["training_s"] + elapsed},
            "latest": dict(self.latest),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: if the checkpoint clustered another number of images.
        """
        stored = state_dict["assignment"]
        self.assignment = None if stored is None else Assignment.from_state_dict(stored)
        n_images = len(self.clusterer.images)
        if self.assignment is not None and len(self.assignment.labels) != n_images:
            raise ValueError(
                f"the checkpoint clustered {len(self.assignment.labels)} images, data.root now has {n_images}; "
                "resume with the same images, or start a new run"
            )
        self.version = state_dict["version"]
        self.nmi_previous = list(state_dict["nmi_previous"])
        self.n_repaired = state_dict["n_repaired"]
        self.n_merged = state_dict.get("n_merged", 0)  # absent in checkpoints from before merging existed
        self.seconds = dict(state_dict["seconds"])
        self.latest = dict(state_dict["latest"])
