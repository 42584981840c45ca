"""Patches of maps, normalised and whitened, and what centroids of them mean as filters. Next: coates.py.

The recipe of Coates, Ng and Lee 2011 ("An Analysis of Single-Layer Networks in Unsupervised Feature Learning"),
without its k-means, which weights/patch_filters.py takes from the clustering.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 8192  # patches brought to float64 at a time


def cut(maps: Tensor, places: Tensor, size: int) -> Tensor:
    """Patches (n, C x size x size) of maps (B, C, H, W) at places (n, 3): map, top, left."""
    windows = maps.unfold(2, size, 1).unfold(3, size, 1)  # (B, C, H', W', size, size), a view
    image, top, left = places.unbind(dim=1)
    return windows[image, :, top, left].flatten(1)


def normalise_contrast(patches: Tensor, contrast: float) -> Tensor:
    """Each patch (n, d) less its own mean, divided by sqrt(its variance + contrast)."""
    centred = patches - patches.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True) + contrast).sqrt()


def mean_and_covariance(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) of patches (n, d), float64."""
    blocks = torch.split(patches, ROWS)
    mean = sum((block.double().sum(dim=0) for block in blocks), patches.new_zeros(patches.shape[1]).double())
    mean = mean / len(patches)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=patches.device)
    for block in blocks:
        centred = block.double() - mean
        covariance += centred.T @ centred
    return mean, covariance / len(patches)


@dataclass(kw_only=True)
class Whitening:
    """ZCA: (x - mean) @ matrix, whose covariance is the identity up to epsilon.

    Args:
        mean: (d,) float32.
        matrix: (d, d) float32, symmetric: V (L + epsilon)^(-1/2) V^T for a covariance V L V^T.
    """

    mean: Tensor
    matrix: Tensor

    @classmethod
    def fit(cls, patches: Tensor, epsilon: float) -> "Whitening":
        """Fit to patches (n, d); epsilon is added to every direction's variance."""
        mean, covariance = mean_and_covariance(patches)
        variances, directions = torch.linalg.eigh(covariance)
        matrix = (directions * (variances.clamp_min(0) + epsilon).rsqrt()) @ directions.T
        return cls(mean=mean.float(), matrix=matrix.float())

    def apply(self, patches: Tensor) -> Tensor:
        """Whitened patches (n, d)."""
        return (patches - self.mean) @ self.matrix


def folded(centroids: Tensor, whitening: Whitening, *, centred: bool) -> Tensor:
    """Linear filters (K, d) on patches as they are, that answer as centroids (K, d) do to whitened ones.

    c . (M (x - m)) = (M c) . x - const, with M symmetric. If each patch x is centred by its own mean first, that is
    the filter M c less its own mean. What a linear filter cannot do, the division by each patch's contrast, is left
    out, and the constant too: a convolution's bias or BatchNorm is there for it.
    """
    filters = centroids @ whitening.matrix
    return filters - filters.mean(dim=1, keepdim=True) if centred else filters


def scaled_like(filters: Tensor, others: Tensor, patches: Tensor) -> Tensor:
    """Filters (K, d) scaled so that their answers to patches (n, d) have the standard deviation of `others`'.

    Each filter's answers vary equally (centroids of rare and of frequent patches differ in length), and over all
    filters and patches the standard deviation is that of the other filters (K, d): what follows the layer meets
    the scale that it was made for.
    """
    mean, covariance = mean_and_covariance(patches)
    spread_of_others = _moments(others, mean, covariance)[1]
    spread, _ = _moments(filters, mean, covariance)
    equal = filters / spread.clamp_min(torch.finfo(torch.float64).tiny).unsqueeze(1).to(filters.dtype)
    return equal * float(spread_of_others / _moments(equal, mean, covariance)[1])


def _moments(filters: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviations of the answers: each filter's (K,), and that of all answers together, float64."""
    filters = filters.double()
    variances = ((filters @ covariance) * filters).sum(dim=1)
    means = filters @ mean
    return variances.sqrt(), (variances.mean() + means.var(unbiased=False)).sqrt()
