"""Extract and reduce: images -> a stream of features (N, D) -> reduced features (N, P). Next: clustering.

The (N, D) matrix never exists (docs/design.md, contract 9). PCA is fitted on moments of the stream. Meanwhile a buffer
of fixed size keeps raw features, so that they need not be computed twice.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from deepcluster.clustering.moments import Moments
from deepcluster.clustering.pca import FittedReduction
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.images import ImageSet
from deepcluster.data.loader import feature_batches
from deepcluster.data.views import FeatureView
from deepcluster.features.inference import inference_copy
from deepcluster.features.storage import Storage
from deepcluster.models.backbone import Backbone
from deepcluster.system import collectives, distributed
from deepcluster.system.machine import free_memory, in_gb
from deepcluster.system.seeding import generator

Progress = Callable[[int], None]


class RowSource(Protocol):
    """Rows of N images that can be read in any order: a network's pass, or stored ones."""

    seconds: dict[str, float]  # "features_s" and "reduction_s"; whoever works adds to them

    @property
    def n_images(self) -> int:
        """N."""

    @property
    def device(self) -> torch.device:
        """Where the rows are computed and reduced."""

    @property
    def dtype(self) -> torch.dtype:
        """The number type in which rows lose no digits."""

    def stream(self, indices: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (indices (B,), rows (B, D)) of these images, in their order."""


@dataclass(kw_only=True)
class FeaturePass:
    """A network and the images to pass through it; each call of `stream` is one forward pass.

    Args:
        network: any module of (B, C, H, W) float32 images; its output rows are the features.
        images: the N images.
        view: the deterministic view (resize, centre crop, normalise).
        device: where the network and the view compute.
        dtype: number type in which features lose no digits; buffered ones have it.
        seconds: `stream` adds the time it takes to "features_s", reduction to "reduction_s".
    """

    network: Callable[[Tensor], Tensor]
    images: ImageSet
    view: FeatureView
    batch_size: int
    num_workers: int
    device: torch.device
    dtype: torch.dtype = torch.float32
    seconds: dict[str, float] = field(default_factory=lambda: {"features_s": 0.0, "reduction_s": 0.0})

    @property
    def n_images(self) -> int:
        return len(self.images)

    @torch.inference_mode()
    def stream(self, indices: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (indices (B,), features (B, ...)) of these images, in their order.

        Raises:
            ValueError: naming the image, if a feature is not finite.
        """
        started = time.perf_counter()
        for batch in feature_batches(
            self.images, self.view, indices, batch_size=self.batch_size, num_workers=self.num_workers
        ):
            features = self.network(self.view(batch.images.to(self.device, non_blocking=True)))
            finite = torch.isfinite(features).flatten(1).all(dim=1)
            if not bool(finite.all()):
                culprit = int(batch.indices[int((~finite).nonzero()[0, 0])])
                raise ValueError(
                    f"the features of {int((~finite).sum())} of {len(features)} images are NaN or infinite, first "
                    f"{self.images.samples[culprit]}: the network has diverged or its weights are damaged; lower "
                    "optimizer.lr, or go back to an earlier checkpoint"
                )
            self.seconds["features_s"] += time.perf_counter() - started
            yield batch.indices, features
            started = time.perf_counter()


def feature_pass(
    backbone: Backbone,
    images: ImageSet,
    view: FeatureView,
    *,
    batch_size: int,
    num_workers: int,
    device: torch.device,
    dtype: torch.dtype,
    convolutional: bool = False,
    taps: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    then: Callable[[Tensor], Tensor] | None = None,
) -> FeaturePass:
    """The pass through a frozen copy of the backbone (BatchNorm folded, `dtype`, channels_last).

    Args:
        convolutional: the rows are the flattened last convolutional stage, which probes read, not the features.
        taps: stage -> what to read from its maps, see :meth:`Backbone.taps`. A row then holds the flattened values of
            all stages, in this order.
        then: what is computed of the features (B, D), in float32; its rows are given in their place.
    """
    network = inference_copy(backbone, dtype=dtype, channels_last=True).to(device)
    forward: Callable[[Tensor], Tensor] = network.convolutional if convolutional else network
    if taps is not None:
        reads = dict(taps)

        def forward(images: Tensor) -> Tensor:
            return torch.cat([read.flatten(1) for read in network.taps(images, reads).values()], dim=1)

    elif then is not None:
        further = then

        def forward(images: Tensor) -> Tensor:
            return further(network(images).float())

    return FeaturePass(
        network=forward,
        images=images,
        view=view,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
        dtype=torch.float32 if then is not None or backbone.needs_float32 else dtype,
    )


def collect(source: RowSource, indices: Tensor, progress: Progress | None = None) -> Tensor:
    """Features of these images as one (len(indices), M) float32 matrix, for probes, which need the whole.

    Raises:
        ValueError: after the first batch, if memory is too small for all.
    """
    collected, n_done = torch.empty(0), 0
    for batch, features in source.stream(indices):
        if n_done == 0:
            n_bytes, free = 4 * len(indices) * features.shape[1:].numel(), free_memory()
            if n_bytes > free:
                raise ValueError(
                    f"{len(indices):,} images x {features.shape[1:].numel():,} float32 features are {in_gb(n_bytes)}, "
                    f"{in_gb(free)} are free; measure fewer with evaluation.max_images or data.limit, or another stage"
                )
            collected = torch.empty(len(indices), *features.shape[1:])
        collected[n_done : n_done + len(batch)] = features
        n_done += len(batch)
        if progress is not None:
            progress(len(batch))
    return collected


def reduced_features(
    source: RowSource,
    feature_dim: int,
    reduction: Reduction,
    *,
    buffer_mb: int,
    seed: int,
    gather: bool = True,
    progress: Progress | None = None,
    storage: Storage | None = None,
) -> tuple[FittedReduction, Tensor | None]:
    """Extract and reduce the features of all N images.

    Each of the G processes computes the images ``[rank::G]``; the moments are summed over the processes.
    With ``reduction.fit_images`` below N, PCA is fitted on a random sample, the same on every rank for one `seed`.

    Args:
        source: the pass over all images.
        feature_dim: D.
        buffer_mb: size of the buffer for raw features; what does not fit is computed twice.
        gather: collect all rows on rank 0. False: every rank keeps its own rows ``[rank::G]``.
        progress: called after each batch with its number of images.
        storage: how the reduced features are kept; None: float32 in memory.

    Returns:
        The fitted reduction, and the reduced features: with `gather` (N, P) on rank 0 and None on the others, else each
        rank's own rows.

    Raises:
        ValueError: if there are too few images or features for the reduction, or a feature is not finite.
    """
    n_images, n_ranks = source.n_images, distributed.world_size()
    reduction.check(n_images, feature_dim)
    mine = torch.arange(distributed.rank(), n_images, n_ranks)
    buffered: list[tuple[Tensor, Tensor]] = []
    done = torch.zeros(n_images, dtype=torch.bool)
    moments = Moments(feature_dim, device=source.device)
    if reduction.needs_fit:
        room = buffer_mb * 2**20
        with distributed.shared_failure("feature extraction"):
            for indices, features in source.stream(_pca_sample(mine, n_images, reduction.fit_images, seed)):
                with timed(source.seconds, "reduction_s"):
                    moments.update(features.float())
                raw = features.to(source.dtype)
                room -= raw.nbytes
                if room >= 0:
                    buffered.append((indices, raw.cpu()))
                    done[indices] = True
                    if progress is not None:  # an image outside the buffer counts when it is computed again
                        progress(len(indices))
        if n_ranks > 1:
            moments = Moments.from_sums(collectives.sum_over_ranks(moments.as_sums()))
    with distributed.shared_failure("PCA"), timed(source.seconds, "reduction_s"):
        fitted = reduction.fit(moments)
        storage = storage or Storage()
        reduced = storage.allocate(len(mine), reduction.output_dim(feature_dim))

        def reduce_into_place(indices: Tensor, features: Tensor) -> None:
            rows = fitted.apply(features.to(source.device).float())
            storage.check(rows)
            reduced[indices // n_ranks] = rows.to(reduced.dtype).cpu()

        while buffered:  # popped, so that the buffer shrinks while the result grows
            reduce_into_place(*buffered.pop())
    with distributed.shared_failure("feature extraction"):
        for indices, features in source.stream(mine[~done[mine]]):
            with timed(source.seconds, "reduction_s"):
                reduce_into_place(indices, features)
            if progress is not None:
                progress(len(indices))
    return fitted, collectives.gather_interleaved(reduced, n_images) if gather else reduced


def _pca_sample(mine: Tensor, n_images: int, fit_images: int | None, seed: int) -> Tensor:
    """The images of this rank on which PCA is fitted, in ascending order."""
    if fit_images is None or fit_images >= n_images:
        return mine
    chosen = torch.zeros(n_images, dtype=torch.bool)
    chosen[torch.randperm(n_images, generator=generator(seed, "pca"))[:fit_images]] = True
    return mine[chosen[mine]]


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the block's wall-clock seconds to ``seconds[name]``."""
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
