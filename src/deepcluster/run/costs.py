"""What a batch of a run costs, measured in a few seconds before it starts. Next: estimate.py extrapolates."""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.moments import ROWS_PER_PRODUCT, Moments
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.images import evenly_spaced
from deepcluster.data.loader import random_batches
from deepcluster.features.extraction import feature_pass
from deepcluster.models.head import ClusterHead
from deepcluster.run.parts import Parts
from deepcluster.settings.train import TrainConfig
from deepcluster.system.machine import forget_peak, peak_memory, used_memory
from deepcluster.system.seeding import generator

LIMIT_S = 2.0  # for each of the measurements that repeat
N_BATCHES = 24
SAMPLE = 20_000  # rows of the k-means that is timed
MOST_CENTROIDS = 1000
LARGEST_EIGEN = 512  # the eigenproblem that is timed; it grows with the cube


@dataclass(kw_only=True)
class Costs:
    """What was measured on a few batches; see costs.py.

    Args:
        image_s: extraction of one image, reading included.
        moments_s: one image's share in PCA's moments.
        fit_s: PCA from its moments.
        apply_s: one image reduced.
        distance_s: one number of one difference between an image and a centroid, in k-means.
        step_s: one training step, reading included.
        extraction_bytes: what an extraction batch took beyond the network, on a CPU.
        training_bytes: what a training step took.
        probed: numbers per image that the evaluation reads.
    """

    image_s: float
    moments_s: float
    fit_s: float
    apply_s: float
    distance_s: float
    step_s: float
    extraction_bytes: int
    training_bytes: int
    probed: int


def measure(config: TrainConfig, parts: Parts) -> Costs:
    """Time a few batches of extraction and of training, and a small k-means; nothing of the run changes."""
    with torch.random.fork_rng(devices=[parts.device] if parts.device.type == "cuda" else []), _not_training(parts):
        extraction_bytes, image_s, features = _extraction(config, parts)
        training_bytes, step_s = _training(config, parts)
        moments_s, fit_s, apply_s = _reduction(config.reduction, parts.backbone.feature_dim, parts.device)
        return Costs(
            image_s=image_s,
            moments_s=moments_s,
            fit_s=fit_s,
            apply_s=apply_s,
            distance_s=_distance(config, parts, config.reduction.output_dim(parts.backbone.feature_dim)),
            step_s=step_s,
            extraction_bytes=extraction_bytes,
            training_bytes=training_bytes,
            probed=features,
        )


def _extraction(config: TrainConfig, parts: Parts) -> tuple[int, float, int]:
    """Bytes, seconds per image, and numbers per image of the stage that the evaluation reads."""
    indices = _spread(parts, config.extraction.batch_size)
    source = feature_pass(
        parts.backbone,
        parts.images,
        parts.clusterer.view,
        batch_size=config.extraction.batch_size,
        num_workers=parts.num_workers,
        device=parts.device,
        dtype=parts.precision.extraction,
    )
    with _peak() as taken:
        per_batch = _per_batch((found for found, _ in source.stream(indices)), parts)
    probed = 0
    if config.evaluation.enabled:
        stage = feature_pass(
            parts.backbone,
            parts.images,
            parts.clusterer.view,
            batch_size=config.extraction.batch_size,
            num_workers=0,
            device=parts.device,
            dtype=parts.precision.extraction,
            convolutional=True,
        )
        probed = next(stage.stream(indices[:1]))[1].shape[1:].numel()
    return taken[0], per_batch / min(config.extraction.batch_size, len(parts.images)), probed


def _training(config: TrainConfig, parts: Parts) -> tuple[int, float]:
    """Bytes and seconds of a step, on copies."""
    device, dtype = parts.device, dtype_of(parts.precision.trainer)
    if not any(parameter.requires_grad for parameter in parts.backbone.parameters()):
        return 0, 0.0
    backbone = copy.deepcopy(parts.backbone).to(device).train()
    head = ClusterHead(backbone.feature_dim, config.clustering.capacity(len(parts.images))).to(device)
    weights = [p for p in (*backbone.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.0, momentum=0.9, fused=device.type in ("cpu", "cuda"))
    indices = _spread(parts, config.data.batch_size)

    def steps() -> Iterator[Tensor]:
        batches = random_batches(
            parts.images, parts.train_view, indices, config.data.batch_size, parts.num_workers, seed=0
        )
        for batch in batches:
            images = parts.train_view(batch.images.to(device), batch.draws)
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                logits = head(backbone(images))
            loss = functional.cross_entropy(logits.float(), batch.indices.to(device) % head.capacity)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            yield batch.indices

    with _peak() as taken:
        step_s = _per_batch(steps(), parts)
    return taken[0], step_s


def _per_batch(batches: Iterator[Tensor], parts: Parts) -> float:
    """Seconds of a batch. The first is not timed, and those that workers had read by then do not count as read."""
    started, n_done = 0.0, -1
    for _ in batches:
        if parts.device.type == "cuda":
            torch.cuda.synchronize(parts.device)
        now, n_done = time.perf_counter(), n_done + 1
        if n_done == 0:
            started = now
        elif now - started > LIMIT_S and n_done > 2 * parts.num_workers:
            break
    n_timed = max(1, n_done - max(0, parts.num_workers - 1))
    return (time.perf_counter() - started) / n_timed


def _reduction(reduction: Reduction, dim: int, device: torch.device) -> tuple[float, float, float]:
    """Seconds: an image's share in the moments, the fit, an image reduced."""
    if not reduction.needs_fit or reduction.dim is None:
        return 0.0, 0.0, 0.0
    draw = generator("estimate")
    rows = torch.randn(ROWS_PER_PRODUCT, dim, generator=draw).to(device)
    timed = _seconds(lambda: Moments(dim, device).update(rows), device)
    small = min(dim, LARGEST_EIGEN)
    moments = Moments(small, device)
    moments.update(rows[:, :small])
    kept = max(1, reduction.dim * small // dim)
    fit_s = _seconds(lambda: Reduction(dim=kept, fit_images=None).fit(moments), device) * (dim / small) ** 3
    product = torch.randn(dim, reduction.dim, generator=draw).to(device)
    apply_s = _seconds(lambda: functional.normalize(rows @ product, dim=1), device)
    return timed / len(rows), fit_s, apply_s / len(rows)


def _distance(config: TrainConfig, parts: Parts, dim: int) -> float:
    """Seconds of one number of one distance, from one iteration and one assignment of a small k-means."""
    n = min(SAMPLE, len(parts.images))
    k = max(2, min(config.clustering.capacity(len(parts.images)), MOST_CENTROIDS, n // 4))
    rows = functional.normalize(torch.randn(n, dim, generator=generator("estimate")), dim=1)
    small = KMeans(k=k, n_iter=1, backend=getattr(config.clustering, "backend", "auto"))
    KMeans(k=2, n_iter=1, backend=small.backend).fit(rows[:100], seed=0, device=parts.device)  # what loads once
    spent = _seconds(lambda: small.fit(rows, seed=0, device=parts.device), parts.device)
    return spent / (small.distances(n) * dim)


def _seconds(work: object, device: torch.device) -> float:
    """Of the faster of two calls, after one that is not timed: other programs only ever add to it."""
    assert callable(work)
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def _spread(parts: Parts, batch_size: int) -> Tensor:
    """Indices of whole batches from all over the set, for a folder's first files may be small."""
    return torch.tensor(evenly_spaced(len(parts.images), N_BATCHES * batch_size))


@contextmanager
def _peak() -> Iterator[list[int]]:
    """Yields a list of one number, which is at the end by how much memory had grown at its height."""
    forget_peak()
    before, taken = used_memory(), [0]
    yield taken
    taken[0] = max(0, peak_memory() - before)


@contextmanager
def _not_training(parts: Parts) -> Iterator[None]:
    """What the measurement reads of the run's network stays as it was."""
    mode = parts.backbone.training
    yield
    parts.backbone.train(mode)


def dtype_of(precision: str) -> torch.dtype | None:
    """What Lightning's name of a precision computes training steps in; None: float32."""
    return {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
