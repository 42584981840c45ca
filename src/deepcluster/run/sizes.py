"""What a run will do, in numbers: images, features, clusters, epochs. Next: costs.py times a few batches."""

import math
from dataclasses import dataclass

import torch

from deepcluster.data.views import TrainView
from deepcluster.evaluation.probe.representation import Evaluation
from deepcluster.models.backbone import Backbone
from deepcluster.training.clusterer import Clusterer
from deepcluster.training.schedule import Schedule


@dataclass(kw_only=True)
class Plan:
    """How a run clusters, trains and measures."""

    clusterer: Clusterer
    backbone: Backbone
    train_view: TrainView
    schedule: Schedule
    evaluation: Evaluation
    device: torch.device
    precision: str  # of training steps, as Lightning names it
    batch_size: int  # images per step and process
    max_epochs: int
    epochs_done: int = 0  # before a resume
    n_test: int = 0  # images
    n_shared: int = 1  # processes that share the work, each with a GPU of its own

    @property
    def n_epochs(self) -> int:
        """Epochs that are still to be trained."""
        return max(0, self.max_epochs - self.epochs_done)

    def n_reassignments(self) -> int:
        """Reassignments in these epochs, if the clusters never become stable."""
        nmi: list[float] = [0.0] * min(self.epochs_done, 1)
        n = 0
        for epoch in range(self.epochs_done, self.epochs_done + self.n_epochs):
            if self.schedule.due(epoch, nmi):
                n += 1
                nmi.append(0.0)
        return n


@dataclass(kw_only=True)
class Sizes:
    """The numbers of a run: how many images, of how many features, how often."""

    n: int
    feature_dim: int
    dim: int
    k: int
    n_fit: int  # images that PCA is fitted on
    n_twice: int  # of these, those whose features the buffer does not hold
    n_iterated: int  # images that k-means iterates on
    bytes_per_image: int  # that the clustering holds beside the features
    distances: float  # between an image and a centroid, or between images, per reassignment
    n_reassignments: int
    n_epochs: int
    steps_per_epoch: int
    n_measured: tuple[int, int]  # training and test images of the evaluation
    n_shared: int  # processes that share the work, each with a GPU of its own
    stored_bytes: int  # reduced features in memory
    disk_bytes: float
    buffer_bytes: int


def sizes(plan: Plan) -> Sizes:
    """The numbers of a run."""
    clusterer, backbone = plan.clusterer, plan.backbone
    images, storage, evaluation = clusterer.images, clusterer.storage, plan.evaluation
    reduction, clustering = clusterer.reduction, clusterer.clustering
    n, d, itemsize = len(images), backbone.feature_dim, clusterer.dtype.itemsize
    dim, k = reduction.output_dim(d), clustering.capacity(n)
    n_fit = 0 if not reduction.needs_fit else min(n, reduction.fit_images or n)
    n_held = clusterer.extraction.buffer_mb * 2**20 // (d * itemsize)
    n_due = plan.n_reassignments()
    begins = plan.n_epochs > 0 and plan.epochs_done == 0
    n_untrained = 2 if evaluation.enabled and evaluation.untrained and begins else 0
    is_measured = evaluation.enabled and images.labels is not None
    network = sum(parameter.numel() for parameter in backbone.parameters())
    checkpoint = 4 * (2 * network + k * d + k * dim) + 2 * n  # weights, momentum, head, centroids, labels
    assignments = (n_due + 1) * n * math.log2(max(2, k)) / 8
    names = n * (len(images.samples[0]) + 8)
    return Sizes(
        n=n,
        feature_dim=d,
        dim=dim,
        k=k,
        n_fit=n_fit,
        n_twice=max(0, n_fit - n_held),
        n_iterated=clustering.n_iterated(n),
        bytes_per_image=clustering.bytes_per_image,
        distances=clustering.distances(n),
        n_reassignments=n_due + n_untrained + 1,
        n_epochs=plan.n_epochs,
        steps_per_epoch=math.ceil(plan.schedule.images_per_epoch(n) / (plan.batch_size * plan.n_shared)),
        n_measured=(min(n, evaluation.max_images), plan.n_test) if is_measured else (0, 0),
        n_shared=plan.n_shared,
        stored_bytes=storage.n_bytes(n, dim) if storage.folder is None else 0,
        disk_bytes=3 * checkpoint + assignments + names,  # the old checkpoint stands until the new one does
        buffer_bytes=min(n_fit, n_held) * d * itemsize,
    )
