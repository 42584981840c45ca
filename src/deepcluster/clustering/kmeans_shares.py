"""Lloyd's k-means over G processes: each has its share of the images; sums and counts are added over processes.

The assignment is that of one process with all images, up to the order in which floats are added. `KMeans.shares`
decides by size whether processes share. A single process may also iterate here, with all images as its share: with
torch, and with faiss on a GPU, where faiss searches and torch updates the centroids.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering import kmeans_faiss, kmeans_torch
from deepcluster.clustering.assignment import (
    ROWS_PER_BLOCK,
    Assignment,
    nearest_centroid,
    read_rows,
    squared_distance,
    sum_dtype,
)
from deepcluster.clustering.faiss_index import FlatIndex
from deepcluster.clustering.moments import check_finite
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.repair import count_empty, repair_with, squeeze_empty

Nearest = Callable[[Tensor], Tensor]  # rows (B, P) -> the nearest centroid of each (B,)


class Share:
    """One process's images: the rows ``[rank::G]`` of the reduced features (N, P).

    Args:
        rows: (n, P) of any float type; they are read as float32, a block at a time.
        n_images: N, on all processes together.
        ranks: what the processes offer.
        device: where the computations run; rows that are elsewhere are moved there in blocks.
    """

    def __init__(self, rows: Tensor, n_images: int, ranks: Ranks, device: torch.device) -> None:
        assert len(rows) == len(range(ranks.rank, n_images, ranks.size))
        self.rows = rows
        self.n_images = n_images
        self.dim = rows.shape[1]
        self.ranks = ranks
        self.device = device

    def check(self) -> None:
        """Refuse values that are not finite, on every process.

        Raises:
            ValueError: on a process with such rows: how many, and the first. The others raise OtherProcessFailed.
        """
        with self.ranks.together("k-means"):
            for start, block in self.blocks():
                check_finite(block, first_row=start)

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """The rows in blocks of float32, each with the number of its first row."""
        for start in range(0, len(self.rows), ROWS_PER_BLOCK):
            yield start, read_rows(self.rows, slice(start, start + ROWS_PER_BLOCK), self.device)

    def of_sample(self, images: Tensor | None) -> "Share":
        """This process's share of a sample: images (M,), the same on every process; None: of all images."""
        if images is None:
            return self
        share = Share.__new__(Share)
        share.__dict__ |= self.__dict__
        mine = images[images % self.ranks.size == self.ranks.rank] // self.ranks.size
        share.rows = self.rows[mine.sort().values.to(self.rows.device)]
        share.n_images = len(images)
        return share

    def fetch(self, images: Tensor) -> Tensor:
        """The rows (M, P) float32 of these images, whichever processes have them; the same on every process."""
        return self.ranks.summed(lambda: [self._filled(images, lambda rows: rows, (self.dim,))])[0]

    def mean(self, images: Tensor) -> Tensor:
        """The mean (P,) float32 of these images."""
        dtype = sum_dtype(self.device)
        local = self._local(images)[1]
        total = self.ranks.summed(lambda: [read_rows(self.rows, local, self.device).sum(dim=0, dtype=dtype)])[0]
        return (total / len(images)).float()

    def halves(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Two halves of these images (M,), as :func:`repair.repair_empty` parts them."""
        mean = self.mean(images)
        farthest = self._farthest(images, mean) - mean
        along = self.ranks.summed(
            lambda: [self._filled(images, lambda rows: ((rows - mean) * farthest).sum(dim=1), ())]
        )[0]
        order = torch.argsort(along.cpu(), stable=True)
        half = (len(images) + 1) // 2
        return images[order[:half]], images[order[half:]]

    def _farthest(self, images: Tensor, mean: Tensor) -> Tensor:
        """The row (P,) of these images that is farthest from the mean; of equally far ones the first.

        Each process writes its own candidate (distance, place, row) into its line of a table of zeros; the sum over
        processes is the whole table.
        """

        def own_candidate() -> list[Tensor]:
            table = torch.zeros(self.ranks.size, 2 + self.dim, dtype=sum_dtype(self.device), device=self.device)
            mine = table[self.ranks.rank]
            places, local = self._local(images)
            mine[0] = -1.0  # no candidate
            if len(local) > 0:
                rows = read_rows(self.rows, local, self.device)
                distance, index = (rows - mean).square().sum(dim=1).max(dim=0)
                mine[0], mine[1], mine[2:] = distance, places[index], rows[index]
            return [table]

        candidates = self.ranks.summed(own_candidate)[0]
        farthest = candidates[candidates[:, 0] == candidates[:, 0].max()]
        return farthest[farthest[:, 1].argmin(), 2:].float()

    def _local(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The images of (M,) that this process has: their places in 0..M-1, and the numbers of their rows."""
        places = torch.nonzero(images % self.ranks.size == self.ranks.rank).flatten()
        return places.to(self.device), (images[places] // self.ranks.size).to(self.rows.device)

    def _filled(self, images: Tensor, compute: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
        """(M, *shape): at the places of this process's images what `compute` makes of their rows, else zeros."""
        places, local = self._local(images)
        filled = torch.zeros(len(images), *shape, device=self.device)
        filled[places] = compute(read_rows(self.rows, local, self.device))
        return filled


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
    mine = labels[share.ranks.rank :: share.ranks.size].to(share.device)

    def sums() -> list[Tensor]:
        return _sums_of(((mine[i : i + len(block)], block) for i, block in share.blocks()), share, k)

    total, sizes = share.ranks.summed(sums)
    means = (total / sizes.clamp_min(1)[:, None]).float()
    empty = torch.nonzero(sizes == 0).flatten()
    if len(empty) > 0:
        steps = kmeans_faiss if engine == "faiss" else kmeans_torch
        means[empty] = share.fetch(steps.draw(share.n_images, k, seed, None)[0][empty.cpu()])
    return means


@torch.no_grad()
def assign(share: Share, centroids: Tensor, *, empty: str, spherical: bool) -> Assignment:
    """Assign all N images to their nearest centroid, then repair, squeeze out or keep empty clusters.

    Every process gets the same assignment.
    """
    k, ranks = len(centroids), share.ranks
    mine = slice(ranks.rank, None, ranks.size)

    def nearest() -> list[Tensor]:
        # All processes sum one byte an image, or four. Each has zeros in the others' places, so sums are the labels.
        labels = torch.zeros(share.n_images, dtype=torch.uint8 if k <= 256 else torch.int32)
        parts = [nearest_centroid(block, centroids).cpu() for _, block in share.blocks()]
        if parts:
            labels[mine] = torch.cat(parts).to(labels.dtype)
        return [labels]

    labels = ranks.summed(nearest)[0].long()
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
