"""Where k-means begins with clustering.start=kmeans++ (Arthur and Vassilvitskii 2007). Next: kmeans_fit.py iterates.

Greedy, as scikit-learn's KMeans: of a few candidates, each drawn with probability by its squared distance to the
nearest image chosen so far, that is chosen which makes the sum of these distances smallest. G processes choose together
what one chooses: sums over blocks of consecutive images are added over processes, and only the block that a draw falls
into is looked at image by image.
"""

import torch
from torch import Tensor

from deepcluster.clustering.assignment import sum_dtype
from deepcluster.clustering.share import Share
from deepcluster.system.processor import float32_products

IMAGES_PER_BLOCK = 1024
ROUNDING = 1e-6  # of |x|^2 + |c|^2: a smaller squared distance counts as 0, so that no copy of a chosen image is drawn


@torch.no_grad()
def choose_images(share: Share, k: int, n_candidates: int, *, seed: int, sample: Tensor | None = None) -> Tensor:
    """The images (K,) int64 that k-means begins at, on the CPU, the same on every process.

    Args:
        share: this process's images.
        k: number of clusters K.
        n_candidates: of each choice but the first.
        seed: of the draws.
        sample: the images (M,) to choose from, the same on every process; None: all.
    """
    draws = torch.Generator().manual_seed(seed)
    return chosen_by(torch.rand(k, n_candidates, generator=draws, dtype=torch.float64), share, sample)


@torch.no_grad()
def chosen_by(numbers: Tensor, share: Share, sample: Tensor | None = None) -> Tensor:
    """The images (K,) that random numbers (K, L) float64 in [0, 1) choose; of the first line the first only counts."""
    rows = _Rows(share, sample)
    nearest = alike = torch.ones(rows.n, 1, device=share.device)  # the first image is drawn from all alike
    sums = sums_alike = rows.sums(alike)
    chosen: list[Tensor] = []
    for drawn in numbers:
        weights, totals = (nearest, sums) if float(sums.sum()) > 0 else (alike, sums_alike)  # else only copies are left
        candidates = rows.drawn(weights[:, 0], totals[:, 0], drawn if chosen else drawn[:1])
        distances = rows.distances(share.fetch(candidates))
        nearest = torch.minimum(nearest, distances) if chosen else distances
        sums = rows.sums(nearest)
        best = int(sums.sum(dim=0).argmin())
        nearest, sums = nearest[:, best, None], sums[:, best, None]
        chosen.append(candidates[best])
    return torch.stack(chosen)


class _Rows:
    """The n rows of one process among which is chosen, in the order of their images' numbers."""

    def __init__(self, share: Share, sample: Tensor | None) -> None:
        self.share, self.of_sample = share, share.of_sample(sample)
        images = torch.arange(share.n_images) if sample is None else sample.cpu().sort().values
        self.images = images[images % share.ranks.size == share.ranks.rank]
        self.n, self.n_blocks = len(self.images), -(-share.n_images // IMAGES_PER_BLOCK)
        lengths = torch.bincount(self.images // IMAGES_PER_BLOCK, minlength=self.n_blocks)
        self.ends = [0, *lengths.cumsum(0).tolist()]  # the rows of block b are ends[b] to ends[b + 1]
        self.lengths = lengths.to(share.device)
        self.squares = torch.empty(self.n, device=share.device)  # |x|^2
        for first, block in self.of_sample.blocks():
            self.squares[first : first + len(block)] = block.square().sum(dim=1)

    def distances(self, centroids: Tensor) -> Tensor:
        """Squared distances (n, L) of the rows to centroids (L, P)."""
        distances = torch.empty(self.n, len(centroids), device=self.share.device)
        for first, block in self.of_sample.blocks():
            sizes = self.squares[first : first + len(block), None] + centroids.square().sum(dim=1)
            with float32_products(self.share.device):
                squared = torch.addmm(sizes, block, centroids.T, alpha=-2)  # no copy of the rows, as 2 * block is
            distances[first : first + len(block)] = torch.where(squared > ROUNDING * sizes, squared, 0)
        return distances

    def sums(self, values: Tensor) -> Tensor:
        """Sums (blocks, L) float64, on the CPU, of values (n, L) of all processes over blocks of consecutive images."""

        def own() -> list[Tensor]:
            values_here = values.to(sum_dtype(self.share.device))
            return [torch.segment_reduce(values_here, "sum", lengths=self.lengths, axis=0)]

        return self.share.ranks.summed(own)[0].cpu().double()

    def drawn(self, weights: Tensor, totals: Tensor, numbers: Tensor) -> Tensor:
        """The images (L,) that numbers (L,) in [0, 1) draw with probability by their weights.

        Args:
            weights: (n,), at least 0.
            totals: (blocks,), from :meth:`sums`; one at least above 0.
        """
        ends = totals.cumsum(0)
        aims = numbers * ends[-1]
        # rounding may aim at the very end; no block or image without weight is ever drawn
        blocks = torch.searchsorted(ends, aims, right=True).clamp_max(int(totals.nonzero().max()))
        within = (aims - (ends - totals)[blocks]).clamp_min(0)

        def own() -> list[Tensor]:
            lines = torch.zeros(len(blocks), IMAGES_PER_BLOCK, dtype=sum_dtype(self.share.device))
            for line, block in zip(lines, blocks.tolist(), strict=True):
                rows = slice(self.ends[block], self.ends[block + 1])
                line[self.images[rows] % IMAGES_PER_BLOCK] = weights[rows].cpu().to(lines.dtype)
            return [lines.to(self.share.device)]

        lines = self.share.ranks.summed(own)[0].cpu().double()
        places = torch.searchsorted(lines.cumsum(dim=1), within[:, None], right=True)[:, 0]
        last = torch.where(lines > 0, torch.arange(IMAGES_PER_BLOCK), 0).amax(dim=1)
        return blocks * IMAGES_PER_BLOCK + torch.minimum(places, last)
