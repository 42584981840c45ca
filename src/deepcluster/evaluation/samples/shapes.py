"""Rows that copies of a picture share: histograms of the edges' directions, whitened. Next: near_copies.py.

A crop moves edges by a few pixels, so that the cells of the histograms overlap; brightness and compression hardly
change directions. Whitening lets what all pictures have in common count little (Hariharan, Malik and Ramanan 2012,
"Discriminative decorrelation for clustering and classification").
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcluster.clustering.moments import Moments
from deepcluster.clustering.pca import FittedReduction
from deepcluster.clustering.reduction import Reduction

DIRECTIONS = 8
CELL = 16  # pixels, every 8
DIM = 128
IMAGES_PER_DIM = 8  # at least: whitening of fewer lets noise count
AT_ONCE = 256  # pictures: some arrays of 34 MB


def edge_histograms(pictures: Tensor) -> Tensor:
    """(B, 64, 64) grey -> (B, 392) float32: for each of 7 x 7 cells how much edge runs in each of eight directions."""
    grey = F.pad(pictures.float()[:, None], (2, 2, 2, 2), mode="replicate")
    grey = F.avg_pool2d(grey, 3, 1)
    dx, dy = grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2], grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]
    strength, direction = torch.hypot(dx, dy), torch.atan2(dy, dx) * (DIRECTIONS / (2 * torch.pi))
    bins = torch.arange(DIRECTIONS, device=pictures.device).view(-1, 1, 1)
    away = (direction - bins + DIRECTIONS / 2) % DIRECTIONS - DIRECTIONS / 2  # from each bin's middle
    cells = F.avg_pool2d(strength * (1 - away.abs()).clamp(min=0), CELL, CELL // 2).flatten(1)
    return F.normalize(F.normalize(cells).sqrt())


def shape_rows(pictures: Tensor, among: Tensor) -> tuple[FittedReduction, Tensor]:
    """Rows (n, P) float32 of length 1, P at most 128, and the reduction that brings histograms to them.

    Args:
        pictures: (N, 64, 64) uint8.
        among: (n,) numbers of those that rows are made of, n at least 4.
    """
    parts = torch.split(among, AT_ONCE)
    moments = Moments(edge_histograms(pictures[:1]).shape[1])
    for part in parts:
        moments.update(edge_histograms(pictures[part]))
    dim = min(DIM, max(2, len(among) // IMAGES_PER_DIM))
    reduction = Reduction(dim=dim, whiten=True, l2=True, fit_images=None).fit(moments)
    return reduction, torch.cat([reduction.apply(edge_histograms(pictures[part])) for part in parts])
