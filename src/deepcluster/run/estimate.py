"""Estimate what a run will need, before it starts: memory, disk, and seconds of each phase. train.py calls it.

The estimate multiplies the numbers of the run (sizes.py) by measured costs (costs.py).
"""

from dataclasses import dataclass
from pathlib import Path

from deepcluster.clustering.method import Clustering
from deepcluster.features.storage import Storage
from deepcluster.run.costs import Costs, measure
from deepcluster.run.sizes import Plan, Sizes, sizes
from deepcluster.system.machine import free_disk, free_memory, in_gb
from deepcluster.system.progress import clock

MEASURED_FROM = 20_000  # images; a run of fewer is so short that measuring costs is not worth the seconds
LEAST_SAVING = 0.2  # of the whole time: smaller savings by a subsample are not mentioned
USUAL_SAMPLE = 256  # faiss's default of max_points_per_centroid
BYTES_PER_IMAGE = 64  # labels and sort orders, while assignments are compared and epochs drawn
LEARNING, OTHER = "init=kmeans_patches", "other_rows"  # phases that not every run has
FILES = 3.0  # seconds of files and page, in those of the small pictures: copies, thumbnails, map (2,000 photographs)
SCRATCH = 2.5e8  # bytes for blocks of rows and of distances in the clustering


@dataclass(kw_only=True)
class Seconds:
    """The estimate of a run's time, in seconds.

    Args:
        features, reduction, clustering: of one reassignment.
        epoch: of training.
        baselines: of pixels and patches, at the end.
        other: of the rows of another extractor and their clusters, at the start.
        scan: for clustering.k=auto.
        figures: of the untrained and the trained network.
        files: about single images, and the page.
        total: of all reassignments and epochs, and of these five.
    """

    features: float
    reduction: float
    clustering: float
    epoch: float
    baselines: float
    other: float
    scan: float
    figures: float
    files: float
    total: float


def estimate_seconds(s: Sizes, costs: Costs) -> Seconds:
    """Seconds by phase: of a reassignment by N, PCA's sample and the distances; of an epoch by its steps."""
    features = (s.n + s.n_recomputed) * costs.image_s / s.n_sharing
    reduction = s.n_fit * costs.moments_s / s.n_sharing + costs.fit_s + s.n * costs.apply_s / s.n_sharing
    clustering = s.distances * s.dim * costs.distance_s
    epoch = s.steps_per_epoch * costs.step_s
    baselines = s.n_baselines * costs.baseline_s
    other = costs.other_s + s.n * costs.other_image_s + s.other_distances * costs.other_dim * costs.distance_s
    reassignments = s.n_passes * features + s.n_reassignments * (reduction + clustering)
    row_s, dim = (costs.other_image_s, costs.other_dim) if s.other_distances else (costs.image_s + costs.apply_s, s.dim)
    scan = s.n_scanned * row_s + s.scan_distances * dim * costs.distance_s
    figures = s.n_figures * (s.n_seen * costs.image_s + sum(s.n_measured) * costs.figures_s)
    files = FILES * s.n_compared * costs.small_s
    total = reassignments + s.n_epochs * epoch + baselines + other + scan + figures + files
    return Seconds(
        features=features,
        reduction=reduction,
        clustering=clustering,
        epoch=epoch,
        baselines=baselines,
        other=other,
        scan=scan,
        figures=figures,
        files=files,
        total=total,
    )


def memory_by_phase(s: Sizes, costs: Costs | None, *, on_gpu: bool) -> dict[str, float]:
    """Bytes of each phase, beyond what the process holds before it. One phase follows another: the largest counts."""
    measured = 0 if costs is None else costs.extraction_bytes
    sample = 4.0 * s.n_iterated * s.dim if s.n_iterated < s.n else 0.0
    n_train, n_test = s.n_measured
    # k-NN normalises a copy of the training images' features; pixels and patches are cut out of their common rows too
    network = 0 if costs is None else costs.probed_dim * (2 * n_train + n_test)
    small = 0 if costs is None else costs.baseline_dim * (3 * n_train + 2 * n_test)
    beyond = {
        "extraction": s.buffer_bytes + s.stored_bytes + s.pca_bytes + measured,
        "clustering": s.stored_bytes + sample + 8.0 * s.k * s.dim + s.bytes_per_image * s.n + SCRATCH,
        "training": BYTES_PER_IMAGE * s.n + (0 if costs is None or on_gpu else costs.training_bytes),
        "evaluation": 0.0 if costs is None else 4.0 * max(network, small) + measured,
    }
    # soft labels: the conductor's and the module's, and those of the next assignment
    needed = {phase: n_bytes + s.bank_bytes + 3 * s.soft_bytes for phase, n_bytes in beyond.items()}
    once = {LEARNING: s.learning_bytes, OTHER: s.other_bytes}
    return needed | {phase: n_bytes + SCRATCH for phase, n_bytes in once.items() if n_bytes}


def check_room(
    s: Sizes, needed: dict[str, float], ways_out: dict[str, str], *, free: int, disk: int, folder: Path
) -> None:
    """Refuse a run for which memory or disk is too small.

    Args:
        needed: bytes of memory by phase.
        ways_out: phase -> what to do if it needs too much.
        free: bytes of memory.
        disk: free bytes in `folder`.

    Raises:
        ValueError: naming the phase, what it needs, what is free, and the settings to change.
    """
    phase = max(needed, key=lambda name: needed[name])
    if needed[phase] > free:
        raise ValueError(
            f"{phase} needs about {in_gb(needed[phase])} of memory, {in_gb(free)} are free; {ways_out[phase]}"
        )
    if s.disk_bytes > disk:
        raise ValueError(
            f"checkpoints and assignments need about {in_gb(s.disk_bytes)}, {in_gb(disk)} are free in {folder}; "
            "free some, or choose another output_dir"
        )


def ways_out(plan: Plan) -> dict[str, str]:
    """Phase -> the settings to change if it needs more memory than is free."""
    clusterer = plan.clusterer
    shrink = "set extraction.store=disk" if clusterer.storage.folder is None else "lower reduction.dim"
    n_points = getattr(clusterer.clustering, "max_points_per_centroid", None)
    buffer_mb, feature_dim = clusterer.extraction.buffer_mb, plan.backbone.feature_dim
    extraction = f"{shrink}, or lower extraction.buffer_mb={buffer_mb} or extraction.batch_size"
    if (pca := clusterer.reduction.fit_bytes(feature_dim)) > buffer_mb * 2**20:
        extraction = (
            f"{in_gb(pca)} of it are for the PCA of {feature_dim:,} features: set reduction.dim=null, which does "
            f"without, or choose a network with fewer features; or {extraction.removeprefix('set ')}"
        )
    return {
        LEARNING: "lower init.n_patches (and arch.n_filters, of arch=coates with two layers)",
        OTHER: f"its rows have {clusterer.other_dim:,} numbers: lower what makes them many (other_rows.n_filters, "
        "layers, size), or other_rows.n_patches or n_images, from which they are learned",
        "extraction": extraction,
        "clustering": shrink + (f", or lower clustering.max_points_per_centroid={n_points}" if n_points else ""),
        "evaluation": f"lower evaluation.max_images={plan.evaluation.max_images}, or set evaluation.enabled=false",
        "training": f"lower reading.batch_size={plan.batch_size}",
    }


def estimate_lines(
    s: Sizes, needed: dict[str, float], spent: Seconds, clustering: Clustering, *, free: int, disk: int
) -> list[str]:
    """The estimate, to print."""
    phase = max(needed, key=lambda name: needed[name])
    baselines = f", pixels and patches ({clock(spent.baselines)})" if spent.baselines else ""
    other = f", clusters of other rows ({clock(spent.other)})" if spent.other else ""
    figures = f", figures of the network ({clock(spent.figures)})" if spent.figures else ""
    files = f", files and page ({clock(spent.files)})" if spent.files else ""
    scan = f"before them a scan for K: {clock(spent.scan)}; the numbers here are those of K = {s.k}, the most"
    return [
        f"extraction {clock(spent.features)}, PCA {clock(spent.reduction)}, clustering {clock(spent.clustering)}; "
        f"an epoch of training {clock(spent.epoch)}",
        f"{s.n_reassignments} reassignments and {s.n_epochs} epochs{other}{baselines}{figures}{files}: "
        f"{clock(spent.total)}",
        f"memory {in_gb(needed[phase])} more than now (most in {phase}), {in_gb(free)} free; "
        f"disk {in_gb(s.disk_bytes)}, {in_gb(disk)} free",
        *([scan] if s.n_scanned else []),
        *_advice(s, spent, clustering),
    ]


def _advice(s: Sizes, spent: Seconds, clustering: Clustering) -> list[str]:
    """What k-means on a subsample would save, if it is much."""
    n_sampled = USUAL_SAMPLE * s.k
    n_iter = getattr(clustering, "n_iter", 1) * getattr(clustering, "n_redo", 1)
    if s.n_iterated < s.n or n_sampled >= s.n or not hasattr(clustering, "max_points_per_centroid"):
        return []
    sampled = spent.clustering * (n_sampled * n_iter + s.n) / (s.n * (n_iter + 1))
    if s.n_reassignments * (spent.clustering - sampled) < LEAST_SAVING * spent.total:
        return []
    return [
        f"clustering.max_points_per_centroid={USUAL_SAMPLE} would iterate on {n_sampled:,} of the {s.n:,} images: "
        f"clustering {clock(sampled)} in place of {clock(spent.clustering)}"
    ]


def check_memory(plan: Plan, folder: Path) -> None:
    """Refuse a run for which memory or disk is too small even without what only timed batches tell.

    Raises:
        ValueError: see :func:`check_room`.
    """
    needs = sizes(plan)
    needed = memory_by_phase(needs, None, on_gpu=plan.device.type == "cuda")
    check_room(needs, needed, ways_out(plan), free=free_memory(), disk=free_disk(folder), folder=folder)


def tell_needs(plan: Plan, folder: Path, *, is_asked: bool) -> None:
    """Print what the run will need, and refuse one for which memory or disk is too small.

    Batches are timed only for many images, or if the user asked for the estimate.

    Args:
        folder: the run's.
        is_asked: the user set estimate=true.

    Raises:
        ValueError: if there is too little memory or disk.
    """
    needs, clusterer = sizes(plan), plan.clusterer
    is_timed = is_asked or (needs.n >= MEASURED_FROM and plan.epochs_done == 0)
    if is_timed and plan.n_other:
        check_memory(plan, folder)  # timing other rows learns what they need
    costs = measure(plan) if is_timed else None
    needed = memory_by_phase(needs, costs, on_gpu=plan.device.type == "cuda")
    free, disk = free_memory(), free_disk(folder)
    stored, say = clusterer.storage.describe(needs.n, needs.dim), clusterer.progress.say
    if costs is not None:
        words = estimate_lines(
            needs, needed, estimate_seconds(needs, costs), clusterer.clustering, free=free, disk=disk
        )
        for line in (stored, *words):
            say(f"estimate   {line}")
    elif clusterer.storage != Storage():
        say(f"clustering {stored}")
    check_room(needs, needed, ways_out(plan), free=free, disk=disk, folder=folder)
