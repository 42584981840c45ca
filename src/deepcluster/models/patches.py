"""Patches of maps: cut, normalised, whitened; and filters from their centroids. Next: coates.py.

The method of Coates, Ng and Lee 2011 ("An Analysis of Single-Layer Networks in Unsupervised Feature Learning"). Its
k-means is called by weights/patch_filters.py.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 8192  # patches that are converted to float64 at a time


def cut(maps: Tensor, places: Tensor, size: int) -> Tensor:
    """Patches (n, C x size x size) of maps (B, C, H, W) at places (n, 3): image, top, left."""
    windows = maps.unfold(2, size, 1).unfold(3, size, 1)  # (B, C, H', W', size, size), a view
    image, top, left = places.unbind(dim=1)
    return windows[image, :, top, left].flatten(1)


def normalise_contrast(patches: Tensor, contrast: float | Tensor) -> Tensor:
    """Subtract each patch's (n, d) own mean and divide by sqrt(its variance + contrast)."""
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
    """ZCA whitening: the covariance of (x - mean) @ matrix is the identity, up to epsilon.

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
    """Linear filters (K, d) whose answers to plain patches are those of centroids (K, d) to whitened patches.

    c . (M (x - m)) = (M c) . x - const, with M symmetric. If each patch x is first centred by its own mean, the filter
    is M c minus its own mean. The division by each patch's contrast is left out, as no linear filter can do it; so is
    the constant, which a convolution's bias or BatchNorm replaces.

    Args:
        centred: whether patches were centred by their own means.
    """
    filters = centroids @ whitening.matrix
    return filters - filters.mean(dim=1, keepdim=True) if centred else filters


def scaled_like(filters: Tensor, others: Tensor, patches: Tensor) -> Tensor:
    """Scale filters (K, d) so that their answers to patches (n, d) have the standard deviation of the others'.

    Over all filters and patches the standard deviation becomes that of the filters `others` (K, d), so the layers
    behind get numbers of the scale that they were initialised for. It is the same for each filter; without this it
    would differ, as centroids of rare and frequent patches differ in length.
    """
    mean, covariance = mean_and_covariance(patches)
    spread_of_others = _spreads(others, mean, covariance)[1]
    spread, _ = _spreads(filters, mean, covariance)
    equal = filters / spread.clamp_min(torch.finfo(torch.float64).tiny).unsqueeze(1).to(filters.dtype)
    return equal * float(spread_of_others / _spreads(equal, mean, covariance)[1])


def _spreads(filters: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviations of filters' (K, d) answers to patches: each filter's (K,), and of all together; float64."""
    filters = filters.double()
    variances = ((filters @ covariance) * filters).sum(dim=1)
    means = filters @ mean
    return variances.sqrt(), (variances.mean() + means.var(unbiased=False)).sqrt()
