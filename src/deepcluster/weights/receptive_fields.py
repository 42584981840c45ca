"""Choose the maps that filters of a second layer see together: those that vary together (Coates and Ng 2011).

answers of maps (n, K) -> dependence of each pair (K, K) -> groups (N, T). Next: patch_filters.py learns their filters.
"""

import torch
from torch import Tensor

from deepcluster.models.patches import ROWS, mean_and_covariance
from deepcluster.system.seeding import generator

LARGEST_R = 1 - 1e-4  # correlation of a pair; whitening a pair of equal maps would divide by 0


def dependence(answers: Tensor) -> Tensor:
    """Correlation of the squares of each pair of answers (n, K), whitened as a pair: (K, K) float64.

    Whitening takes away that maps are correlated; what is left is that they are strong at the same places. With x and y
    of mean 0, variance 1 and correlation r, the whitened pair is (a x + b y, b x + a y) for a and b =
    (1 / sqrt(1 + r) +- 1 / sqrt(1 - r)) / 2, so that its fourth moments are sums of theirs. A map that never varies
    depends on none.
    """
    mean, covariance = mean_and_covariance(answers)
    scale = covariance.diagonal().clamp_min(torch.finfo(torch.float64).tiny).rsqrt()
    n, r = len(answers), covariance * scale * scale[:, None]
    m22, m31, m40 = torch.zeros_like(r), torch.zeros_like(r), torch.zeros_like(mean)  # E x^2 y^2, E x^3 y, E x^4
    for block in torch.split(answers, ROWS):
        x = (block.double() - mean) * scale
        squares = x.square()
        m22 += squares.T @ squares / n
        m31 += (squares * x).T @ x / n
        m40 += squares.square().sum(dim=0) / n
    limited = r.clamp(-LARGEST_R, LARGEST_R)
    plus, minus = (1 + limited).rsqrt(), (1 - limited).rsqrt()
    a, b = (plus + minus) / 2, (plus - minus) / 2
    m40, m13 = m40[:, None], m31.T
    ends = a**2 * b**2 * (m40 + m40.T) + 2 * a * b * (a**2 + b**2) * (m31 + m13)
    shared = ends + (a**4 + 4 * a**2 * b**2 + b**4) * m22  # E of the product of both squares
    fourth = a**4 * m40 + 4 * a**3 * b * m31 + 6 * a**2 * b**2 * m22 + 4 * a * b**3 * m13 + b**4 * m40.T
    second = a**2 + b**2 + 2 * a * b * r  # 1, but for pairs beyond LARGEST_R
    spread = (fourth - second**2).clamp_min(0).sqrt()
    return ((shared - second**2) / (spread * spread.T)).nan_to_num(0.0, 0.0, 0.0)


def groups_of_maps(dependences: Tensor, n_groups: int, size: int, seed: int) -> Tensor:
    """Groups (n_groups, size) of maps: one that the seed draws, and those that depend on it most; (K, K) given."""
    drawn = torch.randperm(len(dependences), generator=generator(seed, "groups of maps"))[:n_groups]
    rows = dependences.cpu()[drawn]
    rows[torch.arange(n_groups), drawn] = torch.inf
    return rows.topk(size, dim=1).indices
