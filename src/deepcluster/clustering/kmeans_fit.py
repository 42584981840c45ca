"""Reduced features (N, P) -> Assignment by Lloyd's k-means. Next: its labels are trained on as pseudo-labels.

On a CPU faiss does the iterations (kmeans_faiss.py); elsewhere, and where several processes share the images,
kmeans_shares.py does them by faiss or torch. What comes after is common: every image is assigned to its nearest
centroid, and clusters that are then empty are repaired, squeezed out or kept.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering import kmeans_faiss, kmeans_shares
from deepcluster.clustering.assignment import (
    Assignment,
    checked_features,
    engine_device,
    nearest_centroid,
    squared_distance,
)
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.repair import count_empty, repair_empty, squeeze_empty
from deepcluster.clustering.share import Share
from deepcluster.system.processor import has_room

DEVICE_SHARE = 0.5  # of a GPU's free memory that the features may take
REDO_SEED_STEP = 15_486_557  # as in faiss, Clustering.cpp

Progress = Callable[[int, int], None]


@torch.no_grad()
def fit(
    rows: Tensor,
    *,
    n_images: int,
    ranks: Ranks | None,
    k: int,
    start: Tensor | None,
    n_candidates: int,
    n_iter: int,
    n_redo: int,
    spherical: bool,
    max_points_per_centroid: int | None,
    empty: str,
    balanced: bool,
    engine: str,
    seed: int,
    device: torch.device | str,
    progress: Progress | None = None,
) -> Assignment:
    """Cluster all images in this process, or together with others; the settings are those of :class:`KMeans`.

    Beside its rows a process needs memory for the images that are iterated on, in float32 (none if these are all of
    them and stored in float32), for blocks, and about 40 bytes an image.

    Args:
        rows: reduced features (n, P) float32 or float16, perhaps mapped from a file: of all images, or with `ranks`
            those of the images ``[rank::G]``.
        n_images: N, on all processes together.
        ranks: what the G processes offer, each of which calls this; None: this process has all images.
        start: (N,) labels, -1 for none, at whose means the first run begins; None: at images.
        n_candidates: above 0 every run begins at images that k-means++ chooses, each of this many candidates.
        engine: "faiss" or "torch".
        device: where the products are taken.
        progress: called with (iterations done, iterations in all) after each.

    Returns:
        An assignment of all N images on the CPU, without its reduction; the same on every process.

    Raises:
        ValueError: if a feature is NaN or infinite, or the start does not fit.
    """
    device = engine_device(engine, device)
    rows = _moved(checked_features(rows) if ranks is None else rows.detach(), device)
    share = Share(rows, n_images, ranks or Ranks(), device)
    if ranks is not None:
        share.check()
    if ranks is None and not balanced:
        assign = partial(_assign, rows, empty=empty, spherical=spherical)
    else:
        assign = partial(kmeans_shares.assign, share, empty=empty, spherical=spherical, balanced=balanced)
    if ranks is None and engine == "faiss" and device.type == "cpu" and empty != "keep":
        lloyd = partial(kmeans_faiss.lloyd, rows, k)  # faiss's own iterations always split clusters into empty ones
    else:
        lloyd = partial(kmeans_shares.lloyd, share, k, engine=engine, keep_empty=empty == "keep")
    iterate = partial(lloyd, n_iter=n_iter, spherical=spherical, max_points_per_centroid=max_points_per_centroid)
    far = partial(kmeans_shares.far_images, share, k, max_points_per_centroid, n_candidates, engine=engine)

    def start_of(redo: int, seed: int) -> Tensor | None:
        """Centroids (K, P) that a run begins at; None: at images that it draws."""
        if k == n_images:  # each image is its own start
            return None
        if n_candidates > 0:
            centroids = far(seed=seed)
        elif start is not None and redo == 0:
            centroids = kmeans_shares.means_under(share, start, k, engine=engine, seed=seed)
        else:
            return None
        return normalize(centroids, dim=1) if spherical else centroids

    return _best(iterate, assign, start_of, n_iter, n_redo, seed, progress)


def _best(
    iterate: Callable[..., Tensor],
    assign: Callable[[Tensor], Assignment],
    start_of: Callable[[int, int], Tensor | None],
    n_iter: int,
    n_redo: int,
    seed: int,
    progress: Progress | None,
) -> Assignment:
    """The assignment of the smallest objective among n_redo starts."""

    def advance(redo: int, done: int) -> None:
        if progress is not None:
            progress(redo * n_iter + done, n_redo * n_iter)

    seeds = [seed + redo * REDO_SEED_STEP for redo in range(n_redo)]
    assignments = (
        assign(iterate(seed=seed, start=start_of(redo, seed), progress=partial(advance, redo)))
        for redo, seed in enumerate(seeds)
    )
    return min(assignments, key=lambda assignment: assignment.objective)  # the first of equal ones


def _assign(features: Tensor, centroids: Tensor, *, empty: str, spherical: bool) -> Assignment:
    """Assign each image to its nearest centroid, then repair, squeeze out or keep the clusters that are empty."""
    labels = nearest_centroid(features, centroids)
    n_repaired = n_squeezed = n_unused = 0
    if empty == "squeeze":
        labels, centroids, n_squeezed = squeeze_empty(labels, centroids)
    elif empty == "keep":
        n_unused = count_empty(labels, centroids)
    else:
        labels, centroids, n_repaired = repair_empty(features, labels, centroids)
    if spherical and n_repaired > 0:
        centroids = normalize(centroids, dim=1)
    return Assignment(
        labels=labels.cpu(),
        k=len(centroids),
        objective=squared_distance(features, labels, centroids),
        centroids=centroids.cpu(),
        n_repaired=n_repaired,
        n_squeezed=n_squeezed,
        n_unused=n_unused,
    )


def _moved(features: Tensor, device: torch.device) -> Tensor:
    """The features on the device if it has room; else as they are, and blocks of them are moved one at a time."""
    is_there = features.device.type == device.type and device.index in (None, features.device.index)
    if is_there or has_room(device, features.nbytes, DEVICE_SHARE):
        return features.to(device)
    return features
