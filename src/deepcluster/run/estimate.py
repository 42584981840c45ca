"""What a run will need, before it starts: memory, disk, and seconds for each phase. run.py says it and refuses.

Sizes come from the settings; what a batch costs is measured by costs.py, and extrapolated here.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from deepcluster.features.storage import Storage
from deepcluster.run import costs
from deepcluster.run.costs import Costs
from deepcluster.run.parts import Parts
from deepcluster.settings.train import TrainConfig
from deepcluster.system import distributed
from deepcluster.system.machine import free_disk, free_memory, size

MEASURED_FROM = 20_000  # images; a run on fewer is over before an estimate is worth its seconds
WORTH_TELLING = 0.2  # of the whole: from then on the saving by a subsample is told
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


def sizes(config: TrainConfig, parts: Parts, *, epochs_done: int = 0, n_test: int = 0) -> Sizes:
    """The numbers of the run that these settings describe."""
    n, d = len(parts.images), parts.backbone.feature_dim
    reduction, clustering = config.reduction, config.clustering
    dim, k = reduction.output_dim(d), clustering.capacity(n)
    n_fit = 0 if not reduction.needs_fit else min(n, reduction.fit_images or n)
    held = config.extraction.buffer_mb * 2**20 // (d * parts.precision.extraction.itemsize)
    n_epochs = max(0, config.trainer["max_epochs"] - epochs_done)
    nmi: list[float] = [0.0] * min(epochs_done, 1)
    n_due = 0
    for epoch in range(epochs_done, epochs_done + n_epochs):  # as if it were never stable
        if config.reassign.due(epoch, nmi):
            n_due += 1
            nmi.append(0.0)
    is_measured = config.evaluation.enabled and parts.images.labels is not None
    n_untrained = 2 if config.evaluation.enabled and config.evaluation.untrained and n_epochs and not epochs_done else 0
    n_measured = (min(n, config.evaluation.max_images), n_test) if is_measured else (0, 0)
    devices = config.trainer["devices"]
    n_shared = devices if parts.device.type == "cuda" and isinstance(devices, int) and devices > 0 else 1
    network = sum(parameter.numel() for parameter in parts.backbone.parameters())
    checkpoint = 4 * (2 * network + k * d + k * dim) + 2 * n  # weights, momentum, head, centroids, labels
    name = len(parts.images.samples[0]) + 8
    assignments = (n_due + 1) * n * math.log2(max(2, k)) / 8
    storage = parts.clusterer.storage
    return Sizes(
        n=n,
        feature_dim=d,
        dim=dim,
        k=k,
        n_fit=n_fit,
        n_twice=max(0, n_fit - held),
        n_iterated=clustering.n_iterated(n),
        bytes_per_image=clustering.bytes_per_image,
        distances=clustering.distances(n),
        n_reassignments=n_due + n_untrained + 1,
        n_epochs=n_epochs,
        steps_per_epoch=math.ceil(config.reassign.images_per_epoch(n) / (config.data.batch_size * n_shared)),
        n_measured=n_measured,
        n_shared=n_shared,
        stored_bytes=storage.n_bytes(n, dim) if storage.folder is None else 0,
        disk_bytes=3 * checkpoint + assignments + n * name,  # the old checkpoint stands until the new one does
        buffer_bytes=min(n_fit, held) * d * parts.precision.extraction.itemsize,
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


def check(s: Sizes, needed: dict[str, float], config: TrainConfig, *, free: int, disk: int, folder: str) -> None:
    """Refuse a run that the machine has no room for.

    Raises:
        ValueError: naming the phase, what it needs, what is free, and the keys to turn.
    """
    phase = max(needed, key=lambda name: needed[name])
    if needed[phase] > free:
        raise ValueError(
            f"{phase} needs about {size(needed[phase])} of memory, {size(free)} are free; {_way_out(phase, s, config)}"
        )
    if s.disk_bytes > disk:
        raise ValueError(
            f"checkpoints and assignments need about {size(s.disk_bytes)}, {size(disk)} are free in {folder}; "
            "free some, or choose another output_dir"
        )


def _way_out(phase: str, s: Sizes, config: TrainConfig) -> str:
    on_disk = "set extraction.store=disk" if s.stored_bytes else "lower reduction.dim"
    if phase == "extraction":
        return f"{on_disk}, or lower extraction.buffer_mb={config.extraction.buffer_mb} or extraction.batch_size"
    if phase == "clustering":
        sample = getattr(config.clustering, "max_points_per_centroid", None)
        return f"{on_disk}" + (f", or lower clustering.max_points_per_centroid={sample}" if sample else "")
    if phase == "evaluation":
        return f"lower evaluation.max_images={config.evaluation.max_images}, or set evaluation.enabled=false"
    return f"lower data.batch_size={config.data.batch_size}"


def lines(
    s: Sizes, needed: dict[str, float], spent: Seconds | None, config: TrainConfig, *, free: int, disk: int
) -> list[str]:
    """What the person at the keyboard is told."""
    told = []
    if spent is not None:
        told.append(
            f"extraction {clock(spent.features)}, PCA {clock(spent.reduction)}, clustering {clock(spent.clustering)}; "
            f"an epoch of training {clock(spent.epoch)}"
        )
        told.append(
            f"{s.n_reassignments} reassignments and {s.n_epochs} epochs: {clock(spent.total)}, besides the evaluation"
        )
    phase = max(needed, key=lambda name: needed[name])
    told.append(
        f"memory {size(needed[phase])} more than now (most in {phase}), {size(free)} free; "
        f"disk {size(s.disk_bytes)}, {size(disk)} free"
    )
    if spent is not None:
        told += _advice(s, spent, config)
    return told


def _advice(s: Sizes, spent: Seconds, config: TrainConfig) -> list[str]:
    """What k-means on a subsample would save, where that is much."""
    n_sampled = USUAL_SAMPLE * s.k
    n_iter = getattr(config.clustering, "n_iter", 1) * getattr(config.clustering, "n_redo", 1)
    if s.n_iterated < s.n or n_sampled >= s.n or not hasattr(config.clustering, "max_points_per_centroid"):
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


def tell_needs(config: TrainConfig, parts: Parts, folder: Path, *, epochs_done: int = 0) -> None:
    """Say what the run will need, and refuse one that this machine has no room for.

    Batches are timed only where that is worth their seconds: for many images, or where it is all that is asked for.

    Raises:
        ValueError: if memory or disk will not do.
    """
    if not distributed.is_main_process():
        return
    is_long = len(parts.images) >= MEASURED_FROM and epochs_done == 0
    n_test = 0 if parts.test_images is None else len(parts.test_images)
    needs = sizes(config, parts, epochs_done=epochs_done, n_test=n_test)
    measured = costs.measure(config, parts) if config.estimate or is_long else None
    needed = memory(needs, measured, on_gpu=parts.device.type == "cuda")
    spent = None if measured is None else seconds(needs, measured)
    free, disk = free_memory(), free_disk(folder)
    stored = parts.clusterer.storage.describe(needs.n, needs.dim)
    if measured is None and parts.clusterer.storage != Storage():
        parts.progress.say(f"clustering {stored}")
    if measured is not None:
        for line in (stored, *lines(needs, needed, spent, config, free=free, disk=disk)):
            parts.progress.say(f"estimate   {line}")
    check(needs, needed, config, free=free, disk=disk, folder=str(folder))
