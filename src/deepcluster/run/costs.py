"""Measure seconds and memory of a few batches and of a small k-means. Next: estimate.py extrapolates."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.moments import ROWS_PER_PRODUCT, Moments
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.crop_loader import crops_of
from deepcluster.data.images import evenly_spaced
from deepcluster.data.loader import random_batches
from deepcluster.evaluation.baselines import Baselines
from deepcluster.evaluation.probe.knn_and_probe import measure_rows
from deepcluster.evaluation.samples.small_pictures import small_pictures
from deepcluster.models.backbone import Backbone
from deepcluster.run.sizes import Plan
from deepcluster.system.machine import peak_memory, reset_peak_memory, used_memory
from deepcluster.system.seeding import generator
from deepcluster.training.clusterer import Clusterer

LIMIT_S = 2.0  # for timing batches, of extraction and of training each
SMALL_PICTURES = 256
ROWS_OF_FIGURES = 512  # of fewer, what does not grow with the rows would count too much
N_BATCHES = 24
SAMPLE = 20_000  # most rows of the timed k-means
MOST_CENTROIDS = 1000
LARGEST_EIGEN = 512  # dimensions of the timed PCA; its seconds grow with the cube of the dimension


@dataclass(kw_only=True)
class Costs:
    """What was measured. Names with _s are seconds.

    Args:
        image_s: extraction of one image, reading included.
        moments_s: adding one image to PCA's moments.
        fit_s: PCA from its moments.
        apply_s: reducing one image.
        distance_s: one distance between an image and a centroid, per dimension.
        step_s: one training step, reading included.
        extraction_bytes: memory of an extraction batch besides the network, on a CPU.
        training_bytes: memory of a training step, on a CPU.
        probed_dim: features per image that the evaluation reads.
        baseline_s: rows and figures of an image's pixels and patches.
        baseline_dim: numbers of these rows.
        figures_s: k-NN, probe and clusters of an image's features; 0 without labels.
        small_s: making an image's small picture, by which copies and odd ones are found.
        other_s: learning what the rows of another extractor need.
        other_image_s: such a row.
        other_dim: its numbers, reduced.
    """

    image_s: float
    moments_s: float
    fit_s: float
    apply_s: float
    distance_s: float
    step_s: float
    extraction_bytes: int
    training_bytes: int
    probed_dim: int
    baseline_s: float = 0.0
    baseline_dim: int = 0
    figures_s: float = 0.0
    small_s: float = 0.0
    other_s: float = 0.0
    other_image_s: float = 0.0
    other_dim: int = 0


def measure(plan: Plan, *, limit_s: float = LIMIT_S, known: Costs | None = None) -> Costs:
    """Time a few batches of extraction and of training, and a small k-means; the run's own state does not change.

    Args:
        limit_s: for timing batches, of extraction and of training each; at least two batches are timed.
        known: of another network on the same images: what the network does not change is taken from there.
    """
    clusterer, device, dim = plan.clusterer, plan.device, plan.backbone.feature_dim
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), _mode_kept(plan.backbone):
        extraction_bytes, image_s = _extraction(clusterer, plan.backbone, device, limit_s)
        training_bytes, step_s = _training(plan, limit_s)
        moments_s, fit_s, apply_s = _reduction(clusterer.reduction, dim, device)
        probed_dim = _probed_dim(clusterer, plan.backbone, device) if plan.evaluation.enabled else 0
        if known is None:
            baseline_s, baseline_dim = _baselines(plan)
            other_s, other_image_s, other_dim = _other_rows(plan, limit_s)
            small_s = _small_pictures(plan)
        else:
            baseline_s, baseline_dim, small_s = known.baseline_s, known.baseline_dim, known.small_s
            other_s, other_image_s, other_dim = known.other_s, known.other_image_s, known.other_dim
        return Costs(
            image_s=image_s,
            moments_s=moments_s,
            fit_s=fit_s,
            apply_s=apply_s,
            distance_s=_distance(
                clusterer.clustering, len(clusterer.images), clusterer.reduction.output_dim(dim), device
            ),
            step_s=step_s,
            extraction_bytes=extraction_bytes,
            training_bytes=training_bytes,
            probed_dim=probed_dim,
            figures_s=_figures(plan, probed_dim),
            small_s=small_s,
            baseline_s=baseline_s,
            baseline_dim=baseline_dim,
            other_s=other_s,
            other_image_s=other_image_s,
            other_dim=other_dim,
        )


def _extraction(clusterer: Clusterer, backbone: Backbone, device: torch.device, limit_s: float) -> tuple[int, float]:
    """Memory of a batch in bytes, and seconds per image."""
    n = len(clusterer.images)
    batch_size = min(clusterer.extraction.batch_size, n)
    source = replace(clusterer.feature_pass(backbone, device=device), batch_size=batch_size)
    batches = source.stream(_spread(n, batch_size))
    with _peak() as grown:
        per_batch = _per_batch((features for features, _ in batches), clusterer.num_workers, device, limit_s)
    return grown[0], per_batch / batch_size


def _probed_dim(clusterer: Clusterer, backbone: Backbone, device: torch.device) -> int:
    """Features per image of the stage that the evaluation reads."""
    stage = clusterer.feature_pass(backbone, device=device, num_workers=0, convolutional=True)
    return next(stage.stream(torch.zeros(1, dtype=torch.int64)))[1].shape[1:].numel()


def _baselines(plan: Plan) -> tuple[float, int]:
    """Seconds of an image's pixels and patches and of their figures, and the numbers of its row."""
    if not plan.evaluation.measures_baselines:
        return 0.0, 0
    clusterer, images = plan.clusterer, plan.clusterer.images
    baselines = Baselines(
        images=images,
        split=None,
        view=clusterer.view,
        crop=plan.train_view.crops[0],
        mean=[0.0] * images.n_channels,
        std=[1.0] * images.n_channels,
        k=2,
        settings=plan.evaluation,
        seed=0,
        batch_size=clusterer.extraction.batch_size,
        num_workers=clusterer.num_workers,
        device=plan.device,
    )
    return baselines.image_seconds(), baselines.network().dim


def _figures(plan: Plan, dim: int) -> float:
    """Seconds of an image's share in the figures of a network, from random rows of `dim` features."""
    if not plan.evaluation.enabled or plan.clusterer.images.labels is None:
        return 0.0
    rows = torch.randn(ROWS_OF_FIGURES, dim, generator=generator("estimate")).to(plan.device)
    labels = (torch.arange(ROWS_OF_FIGURES) % 10).to(plan.device)
    settings = plan.evaluation
    started = time.perf_counter()
    measure_rows(
        *(rows, labels, rows, labels),
        device=plan.device,
        knn=replace(settings.knn, k=min(settings.knn.k, ROWS_OF_FIGURES)),
        linear_probe=settings.linear_probe,
        seed=0,
    )
    return (time.perf_counter() - started) / ROWS_OF_FIGURES


def _small_pictures(plan: Plan) -> float:
    """Seconds of an image's small picture."""
    if not plan.compares_pictures:
        return 0.0
    clusterer = plan.clusterer
    chosen = torch.tensor(evenly_spaced(len(clusterer.images), SMALL_PICTURES))
    started = time.perf_counter()
    small_pictures(
        clusterer.images,
        among=chosen,
        batch_size=clusterer.extraction.batch_size,
        num_workers=clusterer.num_workers,
        device=plan.device,
        advance=lambda n: None,
    )
    return (time.perf_counter() - started) / len(chosen)


def _other_rows(plan: Plan, limit_s: float) -> tuple[float, float, int]:
    """Seconds of learning what the rows of another extractor need, which the run keeps, and of a row; its numbers."""
    clusterer = plan.clusterer
    if clusterer.other is None or plan.n_other == 0:
        return 0.0, 0.0, 0
    started = time.perf_counter()
    other = clusterer.other(plan.device)
    learned_s = time.perf_counter() - started
    batch_size = clusterer.extraction.batch_size
    batches = other.source.stream(_spread(len(clusterer.images), batch_size))
    per_batch = _per_batch((rows for rows, _ in batches), clusterer.num_workers, plan.device, limit_s)
    return learned_s, per_batch / batch_size, clusterer.other_reduction.output_dim(other.dim)


def _training(plan: Plan, limit_s: float) -> tuple[int, float]:
    """Memory in bytes and seconds of a training step, on copies of network and head."""
    if not any(parameter.requires_grad for parameter in plan.backbone.parameters()):
        return 0, 0.0
    device, dtype, view = plan.device, dtype_of(plan.precision), plan.train_view
    images, num_workers = plan.clusterer.images, plan.clusterer.num_workers
    module = plan.module(copy.deepcopy(plan.backbone)).to(device).train()
    module.rehearse(len(images))
    optimizer = module.build_optimizer(fused=True)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # steps on random labels must not lead to NaN
    batch_size = min(plan.batch_size, len(images))
    indices = _spread(len(images), batch_size)

    def steps() -> Iterator[Tensor]:
        batches = random_batches(images, view, indices, batch_size, num_workers, seed=0, joins_last=True)
        for number, batch in enumerate(batches):
            crops = crops_of(batch, view, device)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                loss = module.training_step(crops, number + 1)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            yield batch.indices

    with _peak() as grown:
        step_s = _per_batch(steps(), num_workers, device, limit_s)
    return grown[0], step_s


def _per_batch(batches: Iterator[Tensor], num_workers: int, device: torch.device, limit_s: float) -> float:
    """Seconds of a batch, without the first one and as many as the workers may have read in advance."""
    started, n_done = 0.0, -1
    for _ in batches:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now, n_done = time.perf_counter(), n_done + 1
        if n_done == 0:
            started = now
        elif now - started > limit_s and n_done > 2 * num_workers:
            break
    n_timed = max(1, n_done - max(0, num_workers - 1))
    return (time.perf_counter() - started) / n_timed


def _reduction(reduction: Reduction, dim: int, device: torch.device) -> tuple[float, float, float]:
    """Seconds of adding one image to the moments, of the fit, and of reducing one image."""
    if not reduction.needs_fit:
        return 0.0, 0.0, 0.0
    draw = generator("estimate")
    rows = torch.randn(ROWS_PER_PRODUCT, dim, generator=draw).to(device)
    update_s = _seconds(lambda: Moments(dim, device).update(rows), device)
    small = min(dim, LARGEST_EIGEN)
    moments = Moments(small, device)
    moments.update(rows[:, :small])
    small_dim = max(1, reduction.output_dim(dim) * small // dim)
    fit_s = _seconds(lambda: Reduction(dim=small_dim, fit_images=None).fit(moments), device) * (dim / small) ** 3
    product = torch.randn(dim, reduction.output_dim(dim), generator=draw).to(device)
    apply_s = _seconds(lambda: functional.normalize(rows @ product, dim=1), device)
    return update_s / len(rows), fit_s, apply_s / len(rows)


def _distance(clustering: Clustering, n_images: int, dim: int, device: torch.device) -> float:
    """Seconds of a distance per dimension, from one iteration and one assignment of a small k-means."""
    n = min(SAMPLE, n_images)
    most = max(labeling.capacity(n_images) for labeling in clustering.labelings())
    k = max(2, min(most, MOST_CENTROIDS, n // 4))
    rows = functional.normalize(torch.randn(n, dim, generator=generator("estimate")), dim=1)
    small = KMeans(k=k, n_iter=1, backend=getattr(clustering, "backend", "auto"))
    KMeans(k=2, n_iter=1, backend=small.backend).fit(rows[:100], seed=0, device=device)  # loads libraries, untimed
    kmeans_s = _seconds(lambda: small.fit(rows, seed=0, device=device), device)
    return kmeans_s / (small.distances(n) * dim)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the faster of two calls, after an untimed one: other programs can only slow a call down."""
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def _spread(n_images: int, batch_size: int) -> Tensor:
    """Indices from all over the set, for whole batches: a folder's first files may be smaller than the others.

    Of a small set again and again: of its one batch nothing would be left to time behind the first.
    """
    n = N_BATCHES * batch_size
    return torch.tensor(evenly_spaced(n_images, n)).repeat(-(-n // n_images))[:n]


@contextmanager
def _peak() -> Iterator[list[int]]:
    """Yield a list of one number: after the block it holds by how many bytes memory had grown at its peak."""
    reset_peak_memory()
    before, grown = used_memory(), [0]
    yield grown
    grown[0] = max(0, peak_memory() - before)


@contextmanager
def _mode_kept(backbone: Backbone) -> Iterator[None]:
    """Restore the network's training or evaluation mode at the end."""
    mode = backbone.training
    yield
    backbone.train(mode)


def dtype_of(precision: str) -> torch.dtype | None:
    """The type of Lightning's autocast under one of its precision names; None: no autocast, float32."""
    return {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
