"""The numbers of a run that decide its costs: images, features, clusters, epochs. Next: costs.py times batches."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from deepcluster.clustering import k_by_number
from deepcluster.clustering.spectral import Spectral
from deepcluster.data.multi_crop import MultiCrop
from deepcluster.evaluation.clusters.two_crops import N_IMAGES
from deepcluster.evaluation.probe.representation import Evaluation
from deepcluster.models.backbone import Backbone
from deepcluster.training.clusterer import Clusterer
from deepcluster.training.module import DeepClusterModule
from deepcluster.training.optimizer import OptimizerSettings
from deepcluster.training.schedule import Schedule


@dataclass(kw_only=True)
class Plan:
    """The parts and settings of a run that its costs depend on."""

    clusterer: Clusterer
    backbone: Backbone
    module: Callable[[Backbone], DeepClusterModule]
    train_view: MultiCrop
    schedule: Schedule
    optimizer: OptimizerSettings
    evaluation: Evaluation
    device: torch.device
    precision: str  # of training steps, one of Lightning's names
    batch_size: int  # images per step and process
    max_epochs: int
    epochs_done: int = 0  # before a resume
    n_test: int = 0  # images
    n_sharing: int = 1  # processes that share the work; above 1 only if each has its own GPU
    reassigns: bool = True  # images are clustered while the network trains, not only for the figures
    bank_bytes: int = 0  # of the memory bank
    head_dim: int | None = None  # that the head reads, E; None: the features'
    n_embedding: int = 0  # weights of the embedding
    n_file_passes: int = 0  # over all images, at the end, for files about single images
    compares_pictures: bool = False  # at the end, for these files
    n_networks: int = 1  # that are trained together
    n_soft: int = 0  # clusters in an image's soft label
    n_other: int = 0  # labelings that cluster the rows of another extractor, once
    other_learning_bytes: float = 0.0  # of memory to learn what these rows need
    scans_k: bool = False  # at the start, for clustering.k=auto
    learning_bytes: float = 0.0  # of memory to learn initial weights, if that is still to come
    n_images: int | None = None  # of the whole set, where the clusterer's images are a sample of it

    @property
    def n(self) -> int:
        """The number of training images."""
        return len(self.clusterer.images) if self.n_images is None else self.n_images

    @property
    def n_epochs(self) -> int:
        """Epochs that remain to be trained."""
        return max(0, self.max_epochs - self.epochs_done)

    def n_reassignments(self) -> int:
        """Reassignments in the remaining epochs, if the clusters never become stable."""
        if not self.reassigns:
            return 0
        nmi: list[float] = [0.0] * min(self.epochs_done, 1)
        n = 0
        for epoch in range(self.epochs_done, self.epochs_done + self.n_epochs):
            if self.schedule.due(epoch, nmi):
                n += 1
                nmi.append(0.0)
        return n


@dataclass(kw_only=True)
class Sizes:
    """The numbers of a run."""

    n: int  # images
    feature_dim: int
    dim: int  # after the reduction
    k: int  # clusters, of the labeling that has most
    n_fit: int  # images that PCA is fitted on
    pca_bytes: float  # of memory for it
    n_recomputed: int  # of these, the ones whose features do not fit into the buffer
    n_iterated: int  # images that k-means iterates on
    bytes_per_image: int  # memory of the clustering besides the features
    distances: float  # computed per reassignment, between images and centroids or between images
    other_distances: float  # computed once, in the clusterings of another extractor's rows; 0: there are none
    n_reassignments: int
    n_passes: int  # over all images, for features
    n_epochs: int
    steps_per_epoch: int
    n_measured: tuple[int, int]  # training and test images of the evaluation
    n_baselines: int  # images whose pixels and patches are measured
    n_figures: int  # networks of which figures are taken: untrained and trained
    n_seen: float  # features of so many images, as large as those of the passes, are made for the figures of one
    n_compared: int  # images of which small pictures are made and compared
    n_sharing: int  # see Plan
    stored_bytes: int  # reduced features in memory
    disk_bytes: float
    buffer_bytes: int
    bank_bytes: int  # of the memory bank
    soft_bytes: int = 0  # of soft labels
    learning_bytes: float = 0.0  # see Plan
    other_bytes: float = 0.0  # of memory to learn, reduce and cluster the rows of another extractor
    n_scanned: int = 0  # images of the scan for clustering.k=auto
    scan_distances: float = 0.0  # that it computes


def sizes(plan: Plan) -> Sizes:
    """Count what the run will do."""
    clusterer, backbone = plan.clusterer, plan.backbone
    images, storage, evaluation = clusterer.images, clusterer.storage, plan.evaluation
    reduction, clustering = clusterer.reduction, clusterer.clustering
    n, d = plan.n, backbone.feature_dim
    itemsize = (torch.float32 if backbone.needs_float32 else clusterer.dtype).itemsize
    dim, head_dim = clusterer.row_dim(backbone), plan.head_dim or d
    ks = [labeling.capacity(n) for labeling in clustering.labelings()]
    centroids = sum(k * (k if clustering.needs_scores else dim) for k in ks)
    n_fit = reduction.n_fit(n)
    n_buffered = clusterer.extraction.buffer_mb * 2**20 // (d * itemsize)
    n_epoch_starts = plan.n_reassignments()
    is_new = plan.n_epochs > 0 and plan.epochs_done == 0
    n_untrained = 2 if evaluation.enabled and evaluation.untrained and is_new else 0
    is_measured = evaluation.enabled and images.labels is not None
    network = sum(parameter.numel() for parameter in backbone.parameters()) + plan.n_embedding
    copies, of_head = (1 + plan.optimizer.states(of_head=of_head) for of_head in (False, True))
    soft_bytes = len(ks) * n * plan.n_soft * (torch.int32.itemsize + torch.float32.itemsize)
    # head with the optimizer's state, centroids, labels
    labelings = 4 * (plan.n_networks * of_head * sum(ks) * head_dim + centroids) + 2 * n * len(ks) + soft_bytes
    fixed = sum(buffer.nbytes for buffer in backbone.buffers())  # an ONNX file is one
    checkpoint = plan.n_networks * (4 * copies * network + fixed) + labelings + plan.bank_bytes
    assignments = (n_epoch_starts + 1) * n * sum(math.log2(max(2, k)) for k in ks) / 8
    n_reassignments = n_epoch_starts + n_untrained + 1
    names = n * (len(images.samples[0]) + 8)
    return Sizes(
        n=n,
        feature_dim=d,
        dim=dim,
        k=max(ks),
        n_fit=n_fit,
        pca_bytes=reduction.fit_bytes(d),
        n_recomputed=max(0, n_fit - n_buffered),
        n_iterated=clustering.n_iterated(n),
        bytes_per_image=clustering.bytes_per_image,
        distances=clustering.distances(n),
        other_distances=_other_distances(plan),
        n_reassignments=n_reassignments,
        # a bank is filled once, then written by the training steps
        n_passes=(n_untrained + 1 + is_new if plan.bank_bytes else n_reassignments) + plan.n_file_passes,
        n_epochs=plan.n_epochs,
        steps_per_epoch=math.ceil(plan.schedule.images_per_epoch(n) / (plan.batch_size * plan.n_sharing)),
        n_measured=(min(n, evaluation.max_images), plan.n_test) if is_measured else (0, 0),
        n_baselines=_n_baselines(plan, is_measured=is_measured),
        n_figures=evaluation.enabled * (1 + (n_untrained > 0)),
        n_seen=_n_seen(plan, is_measured=is_measured),
        n_compared=(n + plan.n_test) * plan.compares_pictures,
        n_sharing=plan.n_sharing,
        stored_bytes=storage.n_bytes(n, dim) if storage.folder is None else 0,
        disk_bytes=3 * checkpoint + assignments + names,  # last, previous and the new one while it is written
        buffer_bytes=min(n_fit, n_buffered) * d * itemsize,
        bank_bytes=plan.bank_bytes,
        soft_bytes=soft_bytes,
        learning_bytes=plan.learning_bytes,
        other_bytes=_other_bytes(plan) if plan.n_other else 0.0,
        n_scanned=min(n, k_by_number.MOST_ROWS) if plan.scans_k else 0,
        scan_distances=k_by_number.n_distances(n, by_graph=clusterer.other_neighbours is not None)
        if plan.scans_k
        else 0.0,
    )


def _other_distances(plan: Plan) -> float:
    clusterings = plan.clusterer.clusterings_of_other(plan.n_other)
    graphs = [one.graph_distances(plan.n) for one in clusterings if isinstance(one, Spectral)]
    return sum(one.distances(plan.n) for one in clusterings) - sum(graphs[1:])  # one graph serves all labelings


def _other_bytes(plan: Plan) -> float:
    clusterer, n, d = plan.clusterer, plan.n, plan.clusterer.other_dim
    reduction, storage = clusterer.other_reduction, clusterer.storage
    dim = reduction.output_dim(d)
    stored = storage.n_bytes(n, dim) if storage.folder is None else 0
    buffered = min(4 * d * reduction.n_fit(n), clusterer.extraction.buffer_mb * 2**20)
    clustering = max(
        (4.0 * one.n_iterated(n) * dim if one.n_iterated(n) < n else 0.0) + one.bytes_per_image * n
        for one in clusterer.clusterings_of_other(plan.n_other)
    )
    return max(plan.other_learning_bytes, stored + max(buffered + reduction.fit_bytes(d), clustering))


def _n_baselines(plan: Plan, *, is_measured: bool) -> int:
    n = plan.n
    if not plan.evaluation.measures_baselines:
        return 0
    return min(n, plan.evaluation.max_images) + plan.n_test if is_measured else 2 * min(n, N_IMAGES)


def _n_seen(plan: Plan, *, is_measured: bool) -> float:
    if is_measured:
        return min(plan.n, plan.evaluation.max_images) + plan.n_test
    crop, size = plan.train_view.crops[0].size, plan.clusterer.view.size
    return 2 * min(plan.n, N_IMAGES) * (crop / size) ** 2
