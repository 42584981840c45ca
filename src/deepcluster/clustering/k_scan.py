"""clustering.k=auto: how many groups rows fall into, by the agreement of halves, and which K a run should take.

Which groups are there, and which does only the luck of a draw cut? Two halves of the rows are clustered apart, finely,
and each half's clusters are joined to a tree (tree.py). Cut into K groups, each tree gives all rows a group, those of
the other half that of their nearest cluster. Where both trees put the same pairs of rows together, by the adjusted Rand
index (Hubert and Arabie 1985: 1 is all, 0 chance), the groups are the rows'. So do Ben-Hur, Elisseeff and Guyon (2002)
and Lange et al. (2004), with a clustering for each K.

Agreement alone does not make a number: any few cuts of a continuum may be found again. The groups stand out where both
trees pay for the next join much more than for the last one. Next: run/k_choice.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepcluster.clustering.assignment import nearest_centroid
from deepcluster.clustering.k_by_number import N_ITER, N_RUNS, PER_ROOT, clusters_of_half, k_by_number
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.spectral import Spectral
from deepcluster.clustering.tree import Tree, ward_tree
from deepcluster.system.seeding import generator, mix

Labels = NDArray[np.int64]

EVERY_K_TO, STEP = 40, 1.1  # each K is tried up to 40, above it each that is a tenth larger
AS_GOOD = 0.005  # of equally good K the finest counts
# Groups stand out at this agreement, gap (see Scan), and agreement on anything finer in them. Planted groups of 2 to 16
# dimensions had gaps of 2.1 to 200; rows of pictures and plain normal rows at most 1.8. Within groups that are normal
# in 2 dimensions halves agree by .4; within kinds that hold kinds, by .7.
STANDS_OUT, GAP, NOTHING_FINER = 0.9, 2.0, 0.5
LARGEST_GAP = 1000.0
AGREES = 0.5  # below it the halves agree on no number of groups


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a scan of n images' rows has found.

    Args:
        n: images, N; of more than MOST_ROWS a sample was scanned.
        ks: the numbers of groups that were tried; empty where there were too few rows.
        agreement: for each of them the agreement of each pair of halves.
        gaps: for each of them, how many times as high the tree joins one group fewer as it joined these; the median of
            all halves.
        within: the agreement on clusters inside the best groups, at the K of :func:`k_by_number`.
    """

    n: int
    ks: list[int]
    agreement: list[list[float]]
    gaps: list[float]
    within: float

    @cached_property
    def means(self) -> list[float]:
        """The mean agreement for each of `ks`."""
        return [fmean(of_pairs) for of_pairs in self.agreement]

    @cached_property
    def groups(self) -> int:
        """The finest number at a gap, of those on which the halves agree; else that on which they agree most."""
        tried = list(zip(self.ks, self.means, self.gaps, strict=True))
        at_gaps = [k for k, mean, gap in tried if mean >= STANDS_OUT and gap >= GAP]
        return max(at_gaps or [k for k, mean, _ in tried if mean >= max(self.means) - AS_GOOD])

    @property
    def best(self) -> float:
        """The agreement on them."""
        return self.means[self.ks.index(self.groups)]

    @property
    def stands_out(self) -> bool:
        """Whether the images are these groups, with little in them that is found again."""
        if not self.ks:
            return False
        gap = self.gaps[self.ks.index(self.groups)]
        return self.best >= STANDS_OUT and gap >= GAP and self.within <= NOTHING_FINER

    @property
    def k(self) -> int:
        """K for the run: the groups, if they stand out; else what the number of images suggests.

        Groups of one kind make good labels by themselves. Where they are less clear, or hold kinds of their own, a
        network learns more from several times as many clusters, and a scan does not tell one such K from another.
        """
        return self.groups if self.stands_out else k_by_number(self.n)

    def told(self) -> str:
        """Why this K, and how sure that is, in a sentence."""
        by_number = f"{PER_ROOT:g} times the root of {self.n:,} images"
        if not self.ks:
            return f"not sure: {by_number}, too few for a scan"
        halves, agree = "two halves of the images, clustered apart,", f"{self.best:.2f} of 1"
        if self.stands_out:
            return f"sure: {halves} find the same {self.groups} groups ({agree}), far apart"
        at_k = self.means[min(range(len(self.ks)), key=lambda i: abs(self.ks[i] - self.k))]
        if self.best >= AGREES:
            return (
                f"fairly sure that no number stands out, so {by_number}: {halves} agree most on {self.groups} groups "
                f"({agree}), and at K = {self.k} by {at_k:.2f}"
            )
        return f"not sure: {by_number}, as {halves} agree on no number of groups (most on {self.groups}: {agree})"


@torch.no_grad()
def scan(
    rows: Tensor,
    clustering: KMeans,
    *,
    n: int,
    seed: int,
    device: torch.device | str = "cpu",
    advance: Callable[[int], None] = lambda n: None,
) -> Scan:
    """Scan rows.

    Args:
        rows: (M, P) float32 on the CPU, reduced, of M <= MOST_ROWS images.
        clustering: how the run will cluster them: Spectral by their graph, others as they are.
        n: images of the run, N.
        seed: of halves and starts.
        advance: called 2 x N_RUNS times.
    """
    n_clusters = clusters_of_half(len(rows))
    if n_clusters < 2:
        return Scan(n=n, ks=[], agreement=[], gaps=[], within=0.0)
    ks = _tried(n_clusters)
    pairs = []
    for run in range(N_RUNS):
        order = torch.randperm(len(rows), generator=generator(seed, "halves", run))
        halves = order[: len(rows) // 2], order[len(rows) // 2 :]
        sides = []
        for number, half in enumerate(halves):
            sides.append(_side(rows, half, clustering, n_clusters, mix(seed, "half", run, number), device))
            advance(1)
        pairs.append(sides)
    agreement = [[pair_agreement(a.groups(k), b.groups(k)) for a, b in pairs] for k in ks]
    gaps = [median(side.gap(k) for sides in pairs for side in sides) for k in ks]
    found = Scan(n=n, ks=ks, agreement=agreement, gaps=gaps, within=0.0)
    fine = min(k_by_number(n), n_clusters)
    within = [
        pair_agreement(a.groups(fine), b.groups(fine), within=side.groups(min(found.groups, fine)))
        for a, b in pairs
        for side in (a, b)
    ]
    return replace(found, within=fmean(within))


@dataclass(frozen=True)
class _Side:
    """All rows by the clusters (M,) of one half, and the tree of these."""

    clusters: Labels
    tree: Tree

    def groups(self, k: int) -> Labels:
        return self.tree.groups(k)[self.clusters]

    def gap(self, k: int) -> float:
        """The height of the join of k groups to k - 1 over that of k + 1 to k; 1 where nothing was joined to k."""
        heights = self.tree.merges[:, 2]
        if k >= self.tree.k:
            return 1.0
        next_join, last_join = heights[self.tree.k - k], heights[self.tree.k - k - 1]
        return float(min(LARGEST_GAP, next_join / last_join if last_join > 0 else LARGEST_GAP))


def _side(rows: Tensor, half: Tensor, clustering: KMeans, k: int, seed: int, device: torch.device | str) -> _Side:
    """Cluster a half; each other row joins its nearest cluster, or in a graph that of its nearest row."""
    mine = rows[half]
    by_graph = isinstance(clustering, Spectral)
    space = clustering.coordinates(mine, device) if isinstance(clustering, Spectral) else mine
    fine = KMeans(k=k, n_iter=N_ITER, spherical=clustering.spherical, backend=clustering.backend)
    found = fine.fit(space, seed=seed, device=device)
    nearest = nearest_centroid(rows, mine if by_graph else found.centroids)
    clusters = found.labels[nearest] if by_graph else nearest
    clusters[half] = found.labels
    return _Side(clusters.numpy(), ward_tree(found.centroids.double().numpy(), found.sizes().double().numpy()))


def _tried(most: int) -> list[int]:
    """The K that are tried, from 2."""
    ks = [2]
    while ks[-1] < most:
        ks.append(min(most, ks[-1] + 1 if ks[-1] < EVERY_K_TO else round(STEP * ks[-1])))
    return ks


def pair_agreement(a: Labels, b: Labels, within: Labels | None = None) -> float:
    """The adjusted Rand index of two labelings (N,), of pairs of rows of one cell only if `within` (N,) tells cells.

    Returns:
        1: the same pairs are together; 0: no more of them than by chance. 1 also where neither cuts any cell.
    """
    cell = np.zeros_like(a) if within is None else within
    n_a, n_b = int(a.max()) + 1, int(b.max()) + 1
    both = _pairs((cell * n_a + a) * n_b + b)[1].sum()
    size = int(cell.max()) + 1
    of_a, of_b, of_cell = (np.zeros(size), np.zeros(size), np.zeros(size))
    for total, labels, n in ((of_a, a, n_a), (of_b, b, n_b), (of_cell, np.zeros_like(a), 1)):
        values, pairs = _pairs(cell * n + labels)
        np.add.at(total, values // n, pairs)
    chance = np.divide(of_a * of_b, of_cell, out=np.zeros(size), where=of_cell > 0).sum()
    most = (of_a + of_b).sum() / 2
    return 1.0 if most == chance else float((both - chance) / (most - chance))


def _pairs(labels: Labels) -> tuple[Labels, NDArray[np.float64]]:
    """The labels that occur, and the pairs of rows that have each."""
    values, counts = np.unique(labels, return_counts=True)
    return values, counts * (counts - 1) / 2
