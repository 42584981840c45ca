"""The conductor: at the start of an epoch extract, reduce, cluster, compare and deliver (DESIGN.md, contract 4).

The only part that knows all others. schedule.py decides when; module.py learns from what is delivered here.
"""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from deepcluster.clustering import metrics
from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.history import write_assignment
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.reduction import FittedReduction, Reduction
from deepcluster.data.images import ImageSet
from deepcluster.data.sampler import Sampler
from deepcluster.data.views import FeatureView
from deepcluster.features.extraction import Extraction, feature_pass, reduced_features, timed
from deepcluster.features.reuse import UntrainedFeatures
from deepcluster.features.storage import Storage
from deepcluster.models.backbone import Backbone
from deepcluster.system import distributed
from deepcluster.system.progress import Progress
from deepcluster.system.seeding import generator, mix
from deepcluster.training.module import DeepClusterModule
from deepcluster.training.record import RunRecord
from deepcluster.training.schedule import Schedule


@dataclass(kw_only=True)
class Clusterer:
    """Images and a network in, Assignment out: the unsupervised half of DeepCluster.

    Args:
        images: the N training images.
        view: how the network sees them here: no augmentation.
        reduction: PCA, whitening, L2.
        clustering: the way to cluster.
        seed: of the run; mixed with what names the moment (an epoch), so that each clustering starts anew as
            in the original.
        dtype: in which features are computed.
        num_workers: processes that read images.
        storage: where the reduced features are kept; rank 0's counts.
        untrained: keeps the first network's reduced features for the clusterings before it learns; None keeps none.
    """

    images: ImageSet
    view: FeatureView
    extraction: Extraction
    reduction: Reduction
    clustering: Clustering
    seed: int
    dtype: torch.dtype = torch.float32
    num_workers: int = 0
    storage: Storage = field(default_factory=Storage)
    progress: Progress = field(default_factory=Progress)
    untrained: UntrainedFeatures | None = None

    def assign(self, backbone: Backbone, *, device: torch.device, moment: str) -> tuple[Assignment, dict[str, float]]:
        """Cluster the images by what `backbone` sees in them, on all ranks.

        Args:
            backbone: the network; its mode and its weights stay as they are.
            moment: names this clustering ("epoch 3"); the same seed and moment give the same assignment.

        Returns:
            The assignment, the same on every rank, and the seconds by phase.

        Raises:
            ValueError: on one rank if its part fails; RuntimeError on the others.
        """
        distributed.broadcast_buffers(backbone)
        shares = distributed.world_size() > 1 and self.shares(backbone)[0]
        source = feature_pass(
            backbone,
            self.images,
            self.view,
            self.extraction,
            num_workers=self.num_workers,
            device=device,
            dtype=self.dtype,
        )

        def compute() -> tuple[FittedReduction, Tensor | None]:
            with self.progress.bar(f"{moment}: features", len(self.images), "img") as advance:
                return reduced_features(
                    source,
                    backbone.feature_dim,
                    self.reduction,
                    buffer_mb=self.extraction.buffer_mb,
                    seed=mix(self.seed, moment, "reduction"),
                    gather=not shares,
                    progress=advance,
                    storage=distributed.on_rank_zero("the choice of a storage", lambda: self.storage),
                )

        if self.untrained is None:
            fitted, reduced = compute()
        else:
            again = moment.startswith("untrained")  # then the first epoch asks for them once more
            fitted, reduced = self.untrained.reduced(backbone, self.reduction, len(self.images), compute, again=again)
        seconds = dict(source.seconds)

        def cluster() -> Assignment:
            assert reduced is not None  # rank 0 has gathered them, or every rank has kept its own
            seed = mix(self.seed, moment, "k-means")
            with self.progress.bar(f"{moment}: {self.clustering.kind}", self.clustering.n_updates, "it") as advance:

                def progress(done: int, total: int) -> None:
                    advance(1)

                if not shares:
                    return self.clustering.fit(reduced, seed=seed, device=device, progress=progress)
                return self.clustering.fit_share(
                    reduced,
                    n_images=len(self.images),
                    ranks=process_ranks(),
                    seed=seed,
                    device=device,
                    progress=progress,
                )

        with timed(seconds, "clustering_s"):
            if shares:
                assignment = cluster()
            else:
                state = distributed.on_rank_zero("clustering", lambda: cluster().state_dict())
                assignment = Assignment.from_state_dict(state)
        return dataclasses.replace(assignment, reduction=fitted), seconds

    def shares(self, backbone: Backbone) -> tuple[bool, str]:
        """Whether several processes cluster together, each with its share of the features, and why."""
        return self.clustering.shares(len(self.images), self.reduction.output_dim(backbone.feature_dim))


def process_ranks() -> Ranks:
    """The process group, as algorithms of `clustering` take it."""
    return Ranks(
        rank=distributed.rank(),
        size=distributed.world_size(),
        sum=distributed.sum_over_ranks,
        together=distributed.shared_failure,
    )


class ReassignCallback(pl.Callback):
    """Gives the module new pseudo-labels when the schedule says so, and the loader its epoch's indices.

    `prepare` may be called any number of times in an epoch; the second call finds nothing to do. It is called by
    the epoch's hook and by the loader before it draws its first index, because Lightning skips the hook after
    some resumes (DESIGN.md, contract 2).

    Args:
        clusterer: images and a network in, Assignment out.
        schedule: when.
        sampler: which images an epoch draws.
        labels: (N,) true labels for the log only, -1 where there is none, or None.
        folder: where each assignment is written, or None.
        seed: of the run.
        nmi_average: of NMI, see clustering/metrics.py.
        record: is told of each reassignment.
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
        # Before the first reassignment: what run.py sets for its NMI to compare with, if anything.
        self.assignment: Assignment | None = None
        self.version = -1  # the epoch whose reassignment is in force
        self.nmi_previous: list[float] = []
        self.n_repaired = 0
        self.n_merged = 0
        self.seconds = {"features_s": 0.0, "reduction_s": 0.0, "clustering_s": 0.0, "training_s": 0.0}
        self.latest: dict[str, float] = {}  # metrics of the last reassignment
        self.epoch_training_s = 0.0
        self._training_since: float | None = None
        self._delivered = -1  # the version that the module holds

    @property
    def n_images_per_epoch(self) -> int:
        """Images drawn per epoch over all ranks."""
        return self.schedule.images_per_epoch(len(self.clusterer.images))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_if_stable(trainer)  # a run that ended so and is resumed has nothing to do

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.prepare(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._count_training_time()
        self._stop_if_stable(trainer)

    def prepare(self, trainer: pl.Trainer) -> tuple[int, Tensor]:
        """Reassign if due and not done yet, deliver the labels, and draw the epoch's images.

        Returns:
            The epoch and the indices (n,) of the images it draws, the same on every rank.
        """
        module, epoch = trainer.lightning_module, trainer.current_epoch
        assert isinstance(module, DeepClusterModule)
        if self.version < epoch and self.schedule.due(epoch, self.nmi_previous):
            self._count_training_time()
            self._reassign(trainer, module, epoch)
        self._deliver(module)
        if self._training_since is None:
            self._training_since = time.perf_counter()
        return epoch, self.indices(epoch)

    def indices(self, epoch: int) -> Tensor:
        """The images that epoch number `epoch` draws, under the assignment in force."""
        assert self.assignment is not None
        draw = generator(self.seed, "sampler", epoch)
        return self.sampler.indices(self.assignment.labels, self.assignment.k, self.n_images_per_epoch, draw)

    def final(self, backbone: Backbone, *, device: torch.device) -> tuple[Assignment, dict[str, float]]:
        """Cluster once more with the finished network, so that weights and clusters belong together."""
        previous = self.assignment
        assignment, seconds = self.clusterer.assign(backbone, device=device, moment="final")
        self._add_seconds(seconds)
        numbers = describe(assignment, previous, self.labels, self.nmi_average)
        self._write("final", self.version + 1, assignment)
        self.assignment = assignment
        self.n_repaired += assignment.n_repaired
        self.n_merged += assignment.n_merged
        return assignment, numbers

    def _reassign(self, trainer: pl.Trainer, module: DeepClusterModule, epoch: int) -> None:
        previous = self.assignment
        assignment, seconds = self.clusterer.assign(module.backbone, device=module.device, moment=f"epoch {epoch}")
        self._add_seconds(seconds)
        numbers = distributed.on_rank_zero(
            "comparison", lambda: describe(assignment, previous, self.labels, self.nmi_average)
        )
        self._write(f"epoch_{epoch:05d}", epoch, assignment)
        self.assignment, self.version = assignment, epoch
        self.nmi_previous.append(numbers.get("nmi_previous", 0.0))
        self.n_repaired += assignment.n_repaired
        self.n_merged += assignment.n_merged
        numbers |= describe_draw(assignment, self.indices(epoch))
        module.head.redraw(assignment.n_outputs, generator(self.seed, "head", epoch))
        for parameter in module.head.parameters():
            trainer.optimizers[0].state.pop(parameter, None)  # what it remembers is of other clusters
        self.latest = {f"cluster/{name}": value for name, value in numbers.items()}
        self.latest |= {f"time/{name}": value for name, value in seconds.items()}
        self.record.reassigned(epoch, self.latest, assignment, len(self.nmi_previous))

    def _write(self, name: str, epoch: int, assignment: Assignment) -> None:
        folder = self.folder
        if folder is not None:  # a full disk on rank 0 is told to all: the others would wait for it
            distributed.on_rank_zero(
                "writing the assignment", lambda: write_assignment(folder, name, epoch, assignment)
            )

    def _deliver(self, module: DeepClusterModule) -> None:
        assert self.assignment is not None
        if module.pseudo_labels is None or self._delivered != self.version:
            module.pseudo_labels = self.assignment.labels.to(module.device)
            self._delivered = self.version

    def _stop_if_stable(self, trainer: pl.Trainer) -> None:
        if self.schedule.stable_ends_training and self.schedule.stable(self.nmi_previous):
            trainer.should_stop = True

    def _count_training_time(self) -> None:
        if self._training_since is not None:
            self.epoch_training_s = time.perf_counter() - self._training_since
            self.seconds["training_s"] += self.epoch_training_s
            self._training_since = None

    def _add_seconds(self, seconds: dict[str, float]) -> None:
        for name, value in seconds.items():
            self.seconds[name] += value

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs; tensors and plain containers only (contract 7)."""
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
        self.n_merged = state_dict.get("n_merged", 0)  # of runs begun before clusters were merged
        self.seconds = dict(state_dict["seconds"])
        self.latest = dict(state_dict["latest"])


def describe(
    assignment: Assignment, previous: Assignment | None, labels: Tensor | None, nmi_average: str = "arithmetic"
) -> dict[str, float]:
    """What is logged of an assignment: its sizes, how it differs from the one before, how it fits true labels.

    Returns:
        Plain numbers by name; `nmi_previous` and `moved_share` only with a previous assignment, those against
        labels only with labels.
    """
    numbers: dict[str, float] = {
        "objective": assignment.objective,
        "k": assignment.k,
        "n_repaired": assignment.n_repaired,
        "n_squeezed": assignment.n_squeezed,
        "n_merged": assignment.n_merged,
        **metrics.size_statistics(assignment.labels, assignment.k),
    }
    if assignment.reduction is not None:
        numbers["explained_variance"] = assignment.reduction.explained_variance
    if previous is not None:
        numbers["nmi_previous"] = metrics.nmi(assignment.labels, previous.labels, nmi_average)
        numbers["moved_share"] = metrics.moved_share(previous.labels, assignment.labels)
    if labels is not None:
        numbers |= metrics.label_metrics(assignment.labels, labels, nmi_average)
    return {name: float(value) for name, value in numbers.items()}


def describe_draw(assignment: Assignment, indices: Tensor) -> dict[str, float]:
    """How evenly the epoch that follows draws the clusters: what sampler.kind is about.

    Args:
        indices: (n,) the images that the epoch draws.
    """
    drawn = metrics.size_statistics(assignment.labels[indices], assignment.k)
    return {f"drawn_{name}": float(drawn[name]) for name in ("perplexity", "largest_share")}
