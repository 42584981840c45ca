"""What a run will need, before it starts: memory, disk, and seconds for each phase. train.py asks.

Sizes come from the settings; costs.py measures what a batch costs; from both the whole is estimated here.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from deepcluster.clustering.method import Clustering
from deepcluster.data.views import TrainView
from deepcluster.evaluation.probe.representation import Evaluation
from deepcluster.features.storage import Storage
from deepcluster.models.backbone import Backbone
from deepcluster.run.costs import Costs, measure
from deepcluster.system.machine import free_disk, free_memory, size
from deepcluster.training.clusterer import Clusterer
from deepcluster.training.schedule import Schedule

MEASURED_FROM = 20_000  # images; with fewer a run is so short that an estimate is not worth its seconds
WORTH_TELLING = 0.2  # of the whole time: smaller savings by a subsample are not mentioned
USUAL_SAMPLE = 256  # faiss's own choice of clustering.max_points_per_centroid
BYTES_PER_IMAGE = 64  # labels and orders of one image while assignments are compared and epochs drawn
SCRATCH = 2.5e8  # blocks of rows and scores


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


@dataclass(kw_only=True)
class Seconds:
    """The estimate of a run's time."""

    features: float
    reduction: float
    clustering: float
    epoch: float
    total: float

    @property
    def reassignment(self) -> float:
        return self.features + self.reduction + self.clustering


@dataclass(kw_only=True)
class Plan:
    """How long a run trains, and on what.

    Args:
        schedule: when it reassigns.
        evaluation: what is measured at its start and its end.
        batch_size: images per step and process.
        max_epochs: trained at its end.
        epochs_done: trained before a resume.
        n_test: test images.
        n_shared: processes that share the work, each with a GPU of its own.
    """

    schedule: Schedule
    evaluation: Evaluation
    batch_size: int
    max_epochs: int
    epochs_done: int = 0
    n_test: int = 0
    n_shared: int = 1

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


def sizes(plan: Plan, clusterer: Clusterer, backbone: Backbone) -> Sizes:
    """The numbers of a run."""
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


def seconds(s: Sizes, costs: Costs) -> Seconds:
    """The time: reassignments grow with N, with PCA's sample and with the distances, epochs with their steps."""
    features = (s.n + s.n_twice) * costs.image_s / s.n_shared
    reduction = s.n_fit * costs.moments_s / s.n_shared + costs.fit_s + s.n * costs.apply_s / s.n_shared
    clustering = s.distances * s.dim * costs.distance_s
    epoch = s.steps_per_epoch * costs.step_s
    total = s.n_reassignments * (features + reduction + clustering) + s.n_epochs * epoch
    return Seconds(features=features, reduction=reduction, clustering=clustering, epoch=epoch, total=total)


def memory(s: Sizes, costs: Costs | None, *, on_gpu: bool) -> dict[str, float]:
    """Bytes by phase, beyond what the process holds before it; the phases follow each other, so the largest counts."""
    measured = 0 if costs is None else costs.extraction_bytes
    moments = 24.0 * s.feature_dim**2 if s.n_fit else 0.0  # sums in float64, the covariance and its copy
    sample = 4.0 * s.n_iterated * s.dim if s.n_iterated < s.n else 0.0
    n_train, n_test = s.n_measured
    return {
        "extraction": s.buffer_bytes + s.stored_bytes + moments + measured,
        "clustering": s.stored_bytes + sample + 8.0 * s.k * s.dim + s.bytes_per_image * s.n + SCRATCH,
        "training": BYTES_PER_IMAGE * s.n + (0 if costs is None or on_gpu else costs.training_bytes),
        # k-NN normalises a copy of the training images' features
        "evaluation": 0.0 if costs is None else 4.0 * costs.probed * (2 * n_train + n_test) + measured,
    }


def check(s: Sizes, needed: dict[str, float], ways_out: dict[str, str], *, free: int, disk: int, folder: Path) -> None:
    """Refuse a run that the machine has no room for.

    Args:
        needed: bytes of memory by phase.
        ways_out: what to do where a phase needs too much.
        free: bytes of memory.
        disk: free bytes in `folder`.

    Raises:
        ValueError: naming the phase, what it needs, what is free, and the settings to change.
    """
    phase = max(needed, key=lambda name: needed[name])
    if needed[phase] > free:
        raise ValueError(
            f"{phase} needs about {size(needed[phase])} of memory, {size(free)} are free; {ways_out[phase]}"
        )
    if s.disk_bytes > disk:
        raise ValueError(
            f"checkpoints and assignments need about {size(s.disk_bytes)}, {size(disk)} are free in {folder}; "
            "free some, or choose another output_dir"
        )


def ways_out(clusterer: Clusterer, *, max_images: int, batch_size: int) -> dict[str, str]:
    """What to change where a phase needs more memory than there is.

    Args:
        max_images: of the evaluation.
        batch_size: of the training.
    """
    less = "set extraction.store=disk" if clusterer.storage.folder is None else "lower reduction.dim"
    n_points = getattr(clusterer.clustering, "max_points_per_centroid", None)
    buffer_mb = clusterer.extraction.buffer_mb
    return {
        "extraction": f"{less}, or lower extraction.buffer_mb={buffer_mb} or extraction.batch_size",
        "clustering": less + (f", or lower clustering.max_points_per_centroid={n_points}" if n_points else ""),
        "evaluation": f"lower evaluation.max_images={max_images}, or set evaluation.enabled=false",
        "training": f"lower data.batch_size={batch_size}",
    }


def lines(
    s: Sizes, needed: dict[str, float], spent: Seconds, clustering: Clustering, *, free: int, disk: int
) -> list[str]:
    """The estimate in words."""
    phase = max(needed, key=lambda name: needed[name])
    return [
        f"extraction {clock(spent.features)}, PCA {clock(spent.reduction)}, clustering {clock(spent.clustering)}; "
        f"an epoch of training {clock(spent.epoch)}",
        f"{s.n_reassignments} reassignments and {s.n_epochs} epochs: {clock(spent.total)}, besides the evaluation",
        f"memory {size(needed[phase])} more than now (most in {phase}), {size(free)} free; "
        f"disk {size(s.disk_bytes)}, {size(disk)} free",
        *_advice(s, spent, clustering),
    ]


def _advice(s: Sizes, spent: Seconds, clustering: Clustering) -> list[str]:
    """What k-means on a subsample would save, where that is much."""
    n_sampled = USUAL_SAMPLE * s.k
    n_iter = getattr(clustering, "n_iter", 1) * getattr(clustering, "n_redo", 1)
    if s.n_iterated < s.n or n_sampled >= s.n or not hasattr(clustering, "max_points_per_centroid"):
        return []
    sampled = spent.clustering * (n_sampled * n_iter + s.n) / (s.n * (n_iter + 1))
    if s.n_reassignments * (spent.clustering - sampled) < WORTH_TELLING * spent.total:
        return []
    return [
        f"clustering.max_points_per_centroid={USUAL_SAMPLE} would iterate on {n_sampled:,} of the {s.n:,} images: "
        f"clustering {clock(sampled)} in place of {clock(spent.clustering)}"
    ]


def clock(seconds: float) -> str:
    """Seconds as people read them, to two digits or three."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.6 * length:
            value = seconds / length
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def tell_needs(
    plan: Plan,
    clusterer: Clusterer,
    backbone: Backbone,
    train_view: TrainView,
    *,
    device: torch.device,
    precision: str,
    folder: Path,
    is_asked: bool,
) -> None:
    """Say what the run will need, and refuse one that this machine has no room for.

    Batches are timed only where that is worth the seconds: for many images, or if the user asked for the estimate.

    Args:
        train_view: the augmentation.
        precision: of training steps, as Lightning names it.
        folder: the run's.
        is_asked: whether the user asked for the estimate.

    Raises:
        ValueError: if there is too little memory or disk.
    """
    needs, measured, spent = sizes(plan, clusterer, backbone), None, None
    if is_asked or (needs.n >= MEASURED_FROM and plan.epochs_done == 0):
        measured = measure(
            clusterer,
            backbone,
            train_view,
            batch_size=plan.batch_size,
            device=device,
            precision=precision,
            probes=plan.evaluation.enabled,
        )
        spent = seconds(needs, measured)
    needed = memory(needs, measured, on_gpu=device.type == "cuda")
    free, disk = free_memory(), free_disk(folder)
    stored, say = clusterer.storage.describe(needs.n, needs.dim), clusterer.progress.say
    if spent is not None:
        for line in (stored, *lines(needs, needed, spent, clusterer.clustering, free=free, disk=disk)):
            say(f"estimate   {line}")
    elif clusterer.storage != Storage():
        say(f"clustering {stored}")
    out = ways_out(clusterer, max_images=plan.evaluation.max_images, batch_size=plan.batch_size)
    check(needs, needed, out, free=free, disk=disk, folder=folder)
