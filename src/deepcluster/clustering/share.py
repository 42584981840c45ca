"""One process's images of G processes, and what all processes learn of them together. Next: kmeans_shares.py."""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from deepcluster.clustering.assignment import (
    ROWS_PER_BLOCK,
    SCORES_PER_BLOCK,
    SCORES_PER_GPU_BLOCK,
    read_rows,
    sum_dtype,
)
from deepcluster.clustering.moments import check_finite
from deepcluster.clustering.ranks import Ranks
from deepcluster.system.processor import rows_per_block


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
        with self.ranks.together("clustering"):
            for start, block in self.blocks():
                check_finite(block, first_row=start)

    def blocks(self, size: int = ROWS_PER_BLOCK) -> Iterator[tuple[int, Tensor]]:
        """The rows in blocks of float32, each with the number of its first row."""
        for start in range(0, len(self.rows), size):
            yield start, read_rows(self.rows, slice(start, start + size), self.device)

    def score_rows(self, k: int) -> int:
        """The size of blocks for which K scores a row fit in memory."""
        size = rows_per_block(k, self.device, on_cpu=SCORES_PER_BLOCK, on_gpu=SCORES_PER_GPU_BLOCK)
        return min(size, ROWS_PER_BLOCK)

    def labels(self, label: Callable[[Tensor], Tensor], k: int, size: int = ROWS_PER_BLOCK) -> Tensor:
        """The labels (N,) int64 in 0..K-1 of all images, on the CPU of every process.

        Args:
            label: this process's rows (B, P) -> their labels (B,).
            size: rows in a block.
        """
        mine = slice(self.ranks.rank, None, self.ranks.size)

        def own() -> list[Tensor]:
            # One byte an image, or four. Each process has zeros in the others' places, so the sums are the labels.
            labels = torch.zeros(self.n_images, dtype=torch.uint8 if k <= 256 else torch.int32)
            parts = [label(block).cpu() for _, block in self.blocks(size)]
            if parts:
                labels[mine] = torch.cat(parts).to(labels.dtype)
            return [labels]

        return self.ranks.summed(own)[0].long()

    def of_sample(self, images: Tensor | None) -> "Share":
        """This process's share of a sample: images (M,), the same on every process; None: of all images."""
        if images is None:
            return self
        share = copy.copy(self)
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
