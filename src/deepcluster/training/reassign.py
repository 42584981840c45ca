"""The conductor: at an epoch's start it has the images clustered and delivers labels (docs/design.md, contract 4).

The only part that knows all others. schedule.py decides when; module.py learns the labels that are delivered here.
"""

import logging
import time
from collections.abc import Mapping, Sequence
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
from deepcluster.features.other_rows import OtherRows
from deepcluster.models.backbone import Backbone
from deepcluster.models.heads import NewClusters
from deepcluster.system import distributed
from deepcluster.system.seeding import generator
from deepcluster.training.bank_fill import fill_bank
from deepcluster.training.clusterer import OTHER_ROWS, Clusterer
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
        other_rows: which reassignments and heads use other rows than the network's own.
        needs_labels: whether training needs clusters; if not, images are only clustered for the figures.
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
        other_rows: OtherRows | None = None,
        needs_labels: bool = True,
    ) -> None:
        self.clusterer = clusterer
        self.schedule = schedule
        self.sampler = sampler
        self.labels = labels
        self.folder = folder
        self.seed = seed
        self.nmi_average = nmi_average
        self.record = record or RunRecord()
        self.other_rows = other_rows or OtherRows()
        self.needs_labels = needs_labels
        # The current one of each labeling; before the first reassignment see compare_with.
        self.assignments: list[Assignment | None] = [None] * len(clusterer.labelings)
        self.beside_labels: list[Tensor] = []  # (N,) of each head beside the method's own
        self.version = -1  # the epoch of the last reassignment
        self.nmi_previous: list[float] = []
        self.first_nmi_labels: float | None = None  # of the first reassignment: what the network begins to learn
        self.n_repaired = 0
        self.n_merged = 0
        self.seconds = {"features_s": 0.0, "reduction_s": 0.0, "clustering_s": 0.0, "training_s": 0.0}
        self.latest: dict[str, float] = {}  # metrics of the last reassignment
        self.epoch_training_s = 0.0
        self._training_since: float | None = None
        self._has_warned = False
        self._continued: list[Assignment] = []  # see go_on_from
        self._delivered: int | None = None  # the version that the module holds

    @property
    def assignment(self) -> Assignment | None:
        """The current assignment of the first labeling."""
        return self.assignments[0]

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
        self.assignments[0] = assignment

    def go_on_from(self, assignments: Sequence[Assignment]) -> None:
        """Begin with the clusters of a run before, of each labeling; images that it did not have are without a label.

        The first reassignment, if training needs clusters, is compared with them, and the final clusters continue them.
        """
        if self.needs_labels:
            self.assignments = list(assignments)
        self._continued = list(assignments)

    def begin_epoch(self, trainer: pl.Trainer) -> tuple[int, Tensor]:
        """Reassign if due and not done yet, deliver the labels, and draw the epoch's images.

        Returns:
            The epoch and the indices (n,) of the images it draws, the same on every rank.
        """
        module, epoch = trainer.lightning_module, trainer.current_epoch
        assert isinstance(module, DeepClusterModule)
        if self.needs_labels and self.version < epoch and self.schedule.due(epoch, self.nmi_previous):
            self._count_training_time()
            self._reassign(module, epoch)
        if self._delivered != self.version:
            self._deliver(module)
        if self._training_since is None:
            self._training_since = time.perf_counter()
        return epoch, self.indices(epoch)

    def indices(self, epoch: int) -> Tensor:
        """The images that epoch number `epoch` draws under the first labeling's current assignment, (n,)."""
        draw = generator(self.seed, "sampler", epoch)
        if not self.needs_labels:
            return self.sampler.indices(
                torch.zeros(len(self.clusterer.images), dtype=torch.int64), 1, self.n_images_per_epoch, draw
            )
        assert self.assignment is not None
        return self.sampler.indices(self.assignment.labels, self.assignment.k, self.n_images_per_epoch, draw)

    def final(self, backbone: Backbone, *, device: torch.device) -> tuple[Assignment, dict[str, float]]:
        """Cluster once more with the trained network, so that the final clusters belong to the final weights.

        Returns:
            The first labeling's assignment, and its numbers from :func:`deepcluster.clustering.describe.describe`.
        """
        previous = self.assignment
        assignments, seconds = self.clusterer.assign_all(
            backbone, device=device, moment="final", continued=self._continued
        )
        numbers = describe(assignments[0], previous, self.labels, self.nmi_average)
        for h, assignment in enumerate(assignments):
            self._write("final", self.version + 1, assignment, labeling=h)
        self.assignments = list(assignments)
        self._count(assignments, seconds)
        return assignments[0], numbers

    def _reassign(self, module: DeepClusterModule, epoch: int) -> None:
        """Cluster all labelings anew, except those whose rows are not the network's and stay as they are."""
        previous, moment = list(self.assignments), f"epoch {epoch}"
        if not self.other_rows.serves(len(self.nmi_previous)):
            if module.bank is not None and not module.bank.is_filled:
                fill_bank(module.bank, module, self.clusterer, seed=self.seed)
            assignments, seconds = self.clusterer.reassign(
                module.network, device=module.device, moment=moment, previous=previous
            )
        elif all(assignment is not None and assignment.space == OTHER_ROWS for assignment in previous):
            assignments, seconds = [assignment for assignment in previous if assignment is not None], {}
        else:
            n = len(self.clusterer.labelings)
            made, seconds = self.clusterer.assign_other(n + self._n_beside(module), device=module.device, moment=moment)
            assignments = made[:n]
            self._keep_beside(made[n:])
        numbers = distributed.on_rank_zero("comparison", lambda: self._describe(assignments, previous))
        for h, assignment in enumerate(assignments):
            self._write(f"epoch_{epoch:05d}", epoch, assignment, labeling=h)
        module.follow(self._new_clusters(assignments, previous, epoch))
        self.assignments = list(assignments)
        self._count([new for new, before in zip(assignments, previous, strict=True) if new is not before], seconds)
        self._warn(epoch, tell_collapse(assignments[0]))
        self.version = epoch
        if not self.nmi_previous:
            self.first_nmi_labels = numbers.get("nmi_labels")
        self.nmi_previous.append(numbers.get("nmi_previous", 0.0))
        numbers |= describe_draw(assignments[0], self.indices(epoch))
        self.latest = {f"cluster/{name}": value for name, value in numbers.items()}
        self.latest |= {f"time/{name}": value for name, value in seconds.items()}
        self.record.reassigned(epoch, self.latest, assignments[0], len(self.nmi_previous))

    def _describe(self, assignments: Sequence[Assignment], previous: Sequence[Assignment | None]) -> dict[str, float]:
        """The numbers of the first labeling; agreement with the last assignment is the mean over all labelings.

        Where there are several, names that end in _labeling_0, _labeling_1, ... tell NMI of each. Clusters that nothing
        made anew have no agreement.
        """
        each = [
            describe(assignment, None if before is assignment else before, self.labels, self.nmi_average)
            for assignment, before in zip(assignments, previous, strict=True)
        ]
        numbers = dict(each[0])
        for name in ("nmi_previous", "moved_share"):
            values = [of_labeling[name] for of_labeling in each if name in of_labeling]
            if len(values) > 1:
                numbers[name] = sum(values) / len(values)
        for h, of_labeling in enumerate(each if len(each) > 1 else []):
            for name in ("nmi_previous", "nmi_labels"):
                if name in of_labeling:
                    numbers[f"{name}_labeling_{h}"] = of_labeling[name]
        return numbers

    def _new_clusters(
        self, assignments: Sequence[Assignment], previous: Sequence[Assignment | None], epoch: int
    ) -> list[NewClusters | None]:
        """What the head follows: each labeling that was clustered anew."""
        return [
            None
            if assignment is before
            else NewClusters(
                assignment.n_outputs,
                assignment.centroids,
                generator(self.seed, "head", epoch, *([h] if h else [])),
                is_first=self.version < 0 or before is None,
            )
            for h, (assignment, before) in enumerate(zip(assignments, previous, strict=True))
        ]

    def _deliver(self, module: DeepClusterModule) -> None:
        """Give the module the labels that it trains on."""
        if self.needs_labels:
            assignments = [assignment for assignment in self.assignments if assignment is not None]
            soft = [assignment.soft for assignment in assignments if assignment.soft is not None]
            module.take_labels([assignment.labels for assignment in assignments], soft)
        if module.beside is not None:
            if n := self._n_beside(module):
                assignments, seconds = self.clusterer.assign_other(n, device=module.device, moment="beside")
                self._keep_beside(assignments)
                self._count([], seconds)
            module.beside.take_labels(self.beside_labels, module.device)
        self._delivered = self.version

    def _n_beside(self, module: DeepClusterModule) -> int:
        """The labelings that heads beside the method's own still need."""
        return 0 if module.beside is None or self.beside_labels else len(module.beside.heads)

    def _keep_beside(self, assignments: Sequence[Assignment]) -> None:
        """Keep the labels of the heads beside the method's own, if these are any."""
        if assignments:
            self.beside_labels = [assignment.labels for assignment in assignments]
            self._count(assignments, {})

    def _write(self, name: str, epoch: int, assignment: Assignment, *, labeling: int) -> None:
        folder, place = self.folder, f"labeling_{labeling}/{name}" if labeling else name
        if folder is not None:  # an error on rank 0 is raised on all ranks, as the others would wait for rank 0
            distributed.on_rank_zero(
                "writing the assignment", lambda: write_assignment(folder, place, epoch, assignment)
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

    def _count(self, assignments: Sequence[Assignment], seconds: Mapping[str, float]) -> None:
        """Add up the seconds, repairs and merges of assignments."""
        for assignment in assignments:
            self.n_repaired += assignment.n_repaired
            self.n_merged += assignment.n_merged
        for name, value in seconds.items():
            self.seconds[name] += value

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain containers (docs/design.md, contract 7)."""
        elapsed = 0.0 if self._training_since is None else time.perf_counter() - self._training_since
        return {
            "assignment": None if self.assignment is None else self.assignment.state_dict(),
            "other_labelings": [None if a is None else a.state_dict() for a in self.assignments[1:]],
            "beside_labels": list(self.beside_labels),
            "version": self.version,
            "nmi_previous": list(self.nmi_previous),
            "first_nmi_labels": self.first_nmi_labels,
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
        stored = [state_dict["assignment"], *state_dict.get("other_labelings", [])]  # older ones have one labeling
        self.assignments = [None if state is None else Assignment.from_state_dict(state) for state in stored]
        self.beside_labels = list(state_dict.get("beside_labels", []))
        n_images = len(self.clusterer.images)
        if self.assignment is not None and len(self.assignment.labels) != n_images:
            raise ValueError(
                f"the checkpoint clustered {len(self.assignment.labels)} images, data.root now has {n_images}; "
                "resume with the same images, or start a new run"
            )
        self.version = state_dict["version"]
        self.nmi_previous = list(state_dict["nmi_previous"])
        self.first_nmi_labels = state_dict.get("first_nmi_labels")  # absent in older checkpoints
        self.n_repaired = state_dict["n_repaired"]
        self.n_merged = state_dict.get("n_merged", 0)  # absent in checkpoints from before merging existed
        self.seconds = dict(state_dict["seconds"])
        self.latest = dict(state_dict["latest"])
