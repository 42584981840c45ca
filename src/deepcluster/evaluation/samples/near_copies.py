"""Which pictures are nearly the same: rows of shapes propose pairs, alignment decides. Next: duplicates.py.

How near is near enough is taken from the pictures: copies that are made of some of them (cropped to 90 %, brightened)
lie so far from their originals, nearest neighbours so far from each other; the limit lies between.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcluster.clustering.backend import choose_backend
from deepcluster.clustering.neighbours import nearest_neighbours
from deepcluster.data.images import evenly_spaced
from deepcluster.evaluation.samples.alignment import aligned_distances
from deepcluster.evaluation.samples.shapes import AT_ONCE, edge_histograms, shape_rows
from deepcluster.system.seeding import generator

N_PROBED = 200  # pictures that the limit is taken from
CROPPED, BRIGHTENED = 0.9, 1.2  # of the copies that are made of them
OF_COPIES = 0.95  # quantile of their distances
PROPOSED = 0.99  # quantile of their distances in shapes
DEVIATIONS = 4.0  # 3 in 100,000 of a normal distribution lie lower
FEWEST_OTHERS = 10
LEAST_CONTRAST = 2.0  # grey levels: pictures of one grey have nothing to compare
NEIGHBOURS = 16
ALL_PAIRS = 60  # pictures of which every pair is compared
MOST_PAIRS = (20_000, 4)  # compared: so many, and one for four pictures


@dataclass(kw_only=True)
class NearCopies:
    """Pairs of nearly the same pictures.

    Args:
        pairs: (M, 2) int64, the lower number first.
        distances: (M,) float32, aligned.
        limit: the largest distance of a pair.
        of_copies: what 95 % of the copies stay below that were made of these pictures; NaN: there were too few.
        of_others: what nearest neighbours that are no copies stay above, but for 3 in 100,000; NaN: all look like
            copies.
        n_left_out: proposed pairs that were not compared, as there were too many: those of the least alike shapes.
    """

    pairs: Tensor
    distances: Tensor
    limit: float
    of_copies: float
    of_others: float
    n_left_out: int = 0


def near_copies(
    pictures: Tensor,
    among: Tensor | None = None,
    *,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> NearCopies:
    """Find the pairs.

    Args:
        pictures: (N, 64, 64) uint8.
        among: numbers of the pictures that are compared; None: all.
        progress: called with the pairs compared so far, and their number.
    """
    among = torch.arange(len(pictures)) if among is None else among
    contrast = [pictures[part].float().std(dim=(1, 2)) for part in torch.split(among, AT_ONCE) if len(part)]
    usable = among[torch.cat([torch.empty(0), *contrast]) >= LEAST_CONTRAST]
    n = len(usable)
    if n < 4:
        nan, none = float("nan"), torch.empty(0, 2, dtype=torch.int64)
        return NearCopies(pairs=none, distances=torch.empty(0), limit=0.0, of_copies=nan, of_others=nan)
    reduction, rows = shape_rows(pictures, usable)
    k = n - 1 if n <= ALL_PAIRS else NEIGHBOURS
    nearest, squares = nearest_neighbours(rows, k, backend=choose_backend("auto", "cpu")[0])
    neighbours, apart = torch.from_numpy(nearest.copy()), torch.from_numpy(squares.copy()).sqrt()
    probed = torch.tensor(evenly_spaced(n, N_PROBED))
    originals = pictures[usable[probed]]
    copies = made_copies(originals, seed=seed)
    proposed = float((reduction.apply(edge_histograms(copies)) - rows[probed]).norm(dim=1).quantile(PROPOSED))
    limit, of_copies, of_others = choose_limit(
        aligned_distances(originals, copies), aligned_distances(originals, pictures[usable[neighbours[probed, 0]]])
    )
    pairs, n_left_out = _proposed_pairs(neighbours, apart, float("inf") if n <= ALL_PAIRS else proposed)
    pairs = usable[pairs]
    distances = torch.empty(len(pairs))
    for done in range(0, len(pairs), 1000):
        part = pairs[done : done + 1000]
        distances[done : done + 1000] = aligned_distances(pictures[part[:, 0]], pictures[part[:, 1]])
        progress(done + len(part), len(pairs))
    near = distances <= limit
    return NearCopies(
        pairs=pairs[near],
        distances=distances[near],
        limit=limit,
        of_copies=of_copies,
        of_others=of_others,
        n_left_out=n_left_out,
    )


def choose_limit(copies: Tensor, neighbours: Tensor) -> tuple[float, float, float]:
    """The largest distance of copies: the geometric mean of what copies stay below and what others stay above.

    Args:
        copies: distances of made copies from their originals.
        neighbours: distances of nearest neighbours, copies among them; those as near as 95 % of the made copies are
            not counted as others.

    Returns:
        The limit, at least half of the second number; what 95 % of the made copies stay below; the median of the
        others less four standard deviations of the logarithm, as its lower quartile tells them (NaN: too few others,
        and the limit is that of the made copies).
    """
    of_copies = float(copies.quantile(OF_COPIES))
    others = neighbours[neighbours > of_copies].clamp(min=1e-6).log()
    if len(others) < FEWEST_OTHERS:
        return of_copies, of_copies, float("nan")
    median, quartile = float(others.median()), float(others.quantile(0.25))
    deviation = (median - quartile) / NormalDist().inv_cdf(0.75)
    of_others = float(torch.tensor(median - DEVIATIONS * deviation).exp())
    return max(of_copies / 2, (of_copies * of_others) ** 0.5), of_copies, of_others


def made_copies(pictures: Tensor, *, seed: int) -> Tensor:
    """Copies (M, 64, 64) uint8 of such pictures: 90 % of each side, somewhere, enlarged again, and brighter."""
    move = (2 * torch.rand(len(pictures), 2, generator=generator(seed, "made copies")) - 1) * (1 - CROPPED)
    place = torch.zeros(len(pictures), 2, 3)
    place[:, 0, 0] = place[:, 1, 1] = CROPPED
    place[:, :, 2] = move
    grid = F.affine_grid(place, [len(pictures), 1, *pictures.shape[1:]], align_corners=False)
    cut = F.grid_sample(pictures.float()[:, None], grid, align_corners=False, padding_mode="border")[:, 0]
    return (BRIGHTENED * cut).round().clamp(max=255).to(torch.uint8)


def _proposed_pairs(neighbours: Tensor, apart: Tensor, most: float) -> tuple[Tensor, int]:
    """Pairs (M, 2) of rows not farther apart than `most`, each once, the nearest of too many; how many are left out."""
    n, k = neighbours.shape
    one = torch.arange(n).repeat_interleave(k)
    keys = torch.minimum(one, neighbours.flatten()) * n + torch.maximum(one, neighbours.flatten())
    wanted = apart.flatten() <= most
    keys, distances = keys[wanted], apart.flatten()[wanted]
    order = torch.argsort(distances, stable=True)
    keys = keys[order]
    distinct, where = torch.unique(keys, return_inverse=True)
    first = torch.full((len(distinct),), len(keys)).scatter_reduce(0, where, torch.arange(len(keys)), "amin")
    chosen = distinct[torch.argsort(first)][: MOST_PAIRS[0] + n // MOST_PAIRS[1]].sort().values
    return torch.stack([chosen // n, chosen % n], dim=1), len(distinct) - len(chosen)
