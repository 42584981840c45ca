"""Lloyd's k-means over G processes: each has its share of the images; sums and counts are added over processes.

The assignment is that of one process with all images, up to the order in which floats are added. `KMeans.shares`
decides by size whether processes share. A single process may also iterate here, with all images as its share: with
torch, and with faiss on a GPU, where faiss searches and torch updates the centroids.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering import kmeans_faiss, kmeans_torch
from deepcluster.clustering.assignment import Assignment, nearest_centroid, squared_distance, sum_dtype
from deepcluster.clustering.faiss_index import FlatIndex
from deepcluster.clustering.kmeans_balanced import balanced_labels
from deepcluster.clustering.kmeans_plus_plus import choose_images
from deepcluster.clustering.repair import count_empty, repair_with, squeeze_empty
from deepcluster.clustering.share import Share

Nearest = Callable[[Tensor], Tensor]  # rows (B, P) -> the nearest centroid of each (B,)


@torch.no_grad()
def lloyd(
    share: Share,
    k: int,
    *,
    engine: str,
    n_iter: int,
    seed: int,
    spherical: bool = False,
    max_points_per_centroid: int | None = None,
    start: Tensor | None = None,
    keep_empty: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Centroids (K, P) after n_iter iterations, the same on every process.

    Args:
        share: this process's images.
        engine: "faiss" or "torch": which draws the start, searches, and splits clusters into empty ones.
        start: centroids (K, P) to begin at; None: at images that the seed draws.
        keep_empty: a cluster that is empty in an iteration keeps its centroid, in place of a split of another.
    """
    steps = kmeans_faiss if engine == "faiss" else kmeans_torch
    starts, sample = steps.draw(share.n_images, k, seed, max_points_per_centroid)
    centroids = share.fetch(starts) if start is None else start
    if spherical:
        centroids = normalize(centroids, dim=1)
    share, search = share.of_sample(sample), _search(engine, centroids)
    if engine == "faiss" and share.n_images == k:  # faiss takes the images for centroids and does not iterate
        n_iter = 0
    for iteration in range(n_iter):
        nearest = search(centroids)
        sums, sizes = share.ranks.summed(lambda: _sums(share, nearest, k))  # noqa: B023  # called at once
        means = (sums / sizes.clamp_min(1)[:, None]).float()
        if keep_empty:
            centroids = torch.where(sizes[:, None] > 0, means, centroids)
        else:
            centroids = steps.split_into_empty(means, sizes.long())
        if spherical:
            centroids = normalize(centroids, dim=1)
        if progress is not None:
            progress(iteration + 1)
    return centroids


@torch.no_grad()
def far_images(
    share: Share, k: int, max_points_per_centroid: int | None, n_candidates: int, *, engine: str, seed: int
) -> Tensor:
    """The images (K, P) that k-means++ begins at, of those that are iterated on; the same on every process."""
    steps = kmeans_faiss if engine == "faiss" else kmeans_torch
    _, sample = steps.draw(share.n_images, k, seed, max_points_per_centroid)
    return share.fetch(choose_images(share, k, n_candidates, seed=seed, sample=sample))


@torch.no_grad()
def means_under(share: Share, labels: Tensor, k: int, *, engine: str, seed: int) -> Tensor:
    """The means (K, P) of the images under labels, the same on every process.

    A cluster without images gets the image that it would begin at without labels.

    Args:
        labels: (N,) int64 in -1..K-1, of all images; -1: none.
        engine: "faiss" or "torch", which draws these images.

    Raises:
        ValueError: if the labels are not those of these images and clusters.
    """
    if labels.shape != (share.n_images,) or int(labels.min()) < -1 or int(labels.max()) >= k:
        raise ValueError(
            f"clustering.start=labels needs a label in 0..{k - 1}, or -1, for each of {share.n_images} images, got "
            f"{len(labels)} labels in {int(labels.min())}..{int(labels.max())}; set clustering.start=images"
        )
    means, sizes = _means(share, labels, k)
    empty = torch.nonzero(sizes == 0).flatten()
    if len(empty) > 0:
        steps = kmeans_faiss if engine == "faiss" else kmeans_torch
        means[empty] = share.fetch(steps.draw(share.n_images, k, seed, None)[0][empty.cpu()])
    return means


@torch.no_grad()
def assign(share: Share, centroids: Tensor, *, empty: str, spherical: bool, balanced: bool = False) -> Assignment:
    """Assign all N images to their nearest centroid, then repair, squeeze out or keep empty clusters.

    Every process gets the same assignment.

    Args:
        balanced: make the clusters about equally large instead (kmeans_balanced.py), and their means the centroids.
    """
    k, ranks = len(centroids), share.ranks
    mine = slice(ranks.rank, None, ranks.size)
    if balanced:
        centroids = centroids.to(share.device)
        labels = balanced_labels(share, centroids)
        means, sizes = _means(share, labels, k)
        centroids = torch.where(sizes[:, None] > 0, means, centroids)
        centroids = normalize(centroids, dim=1) if spherical else centroids
    else:
        labels = share.labels(lambda block: nearest_centroid(block, centroids), k)
    n_repaired = n_squeezed = n_unused = 0
    if empty == "squeeze":
        labels, centroids, n_squeezed = squeeze_empty(labels, centroids.cpu())
    elif empty == "keep":
        n_unused = count_empty(labels, centroids)
    else:
        labels, centroids, n_repaired = repair_with(labels, centroids, halves=share.halves, mean=share.mean)
    if spherical and n_repaired > 0:
        centroids = normalize(centroids, dim=1)
    centroids = centroids.to(share.device)

    def objective() -> list[Tensor]:
        local = labels[mine].to(share.device)
        parts = (squared_distance(block, local[i : i + len(block)], centroids) for i, block in share.blocks())
        return [torch.tensor([sum(parts)], dtype=sum_dtype(share.device))]

    return Assignment(
        labels=labels,
        k=len(centroids),
        objective=ranks.summed(objective)[0].item(),
        centroids=centroids.cpu(),
        n_repaired=n_repaired,
        n_squeezed=n_squeezed,
        n_unused=n_unused,
    )


def _sums(share: Share, nearest: Nearest, k: int) -> list[Tensor]:
    """Sums (K, P) and counts (K,) of the share's images by cluster."""
    return _sums_of(((nearest(block), block) for _, block in share.blocks()), share, k)


def _means(share: Share, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The means (K, P) of all images under labels (N,), 0 for an empty cluster, and the clusters' sizes (K,)."""
    mine = labels[share.ranks.rank :: share.ranks.size].to(share.device)

    def sums() -> list[Tensor]:
        return _sums_of(((mine[i : i + len(block)], block) for i, block in share.blocks()), share, k)

    total, sizes = share.ranks.summed(sums)
    return (total / sizes.clamp_min(1)[:, None]).float(), sizes


def _sums_of(labelled: Iterable[tuple[Tensor, Tensor]], share: Share, k: int) -> list[Tensor]:
    """Sums (K, P) and counts (K,) by label of blocks (labels, rows), -1 left out; float64, as kmeans_torch.means."""
    dtype = sum_dtype(share.device)
    sums = torch.zeros(k + 1, share.dim, dtype=dtype, device=share.device)  # the last line: images without a label
    sizes = torch.zeros(k + 1, dtype=dtype, device=share.device)
    for labels, block in labelled:
        lines = torch.where(labels < 0, k, labels)
        sums.index_add_(0, lines, block.to(dtype))
        sizes += torch.bincount(lines, minlength=k + 1)
    return [sums[:k], sizes[:k]]


def _search(engine: str, centroids: Tensor) -> Callable[[Tensor], Nearest]:
    """A function: centroids (K, P) -> how to find the nearest of them. faiss's index is built only once."""
    if engine == "torch":
        return lambda centroids: lambda block: nearest_centroid(block, centroids)
    index = FlatIndex(centroids.shape[1], centroids.device)

    def search(centroids: Tensor) -> Nearest:
        index.fill(centroids)
        return lambda block: index.search(block, 1).flatten()

    return search
