"""PCA, whitening and L2 from streamed moments: features (B, D) -> (B, P). Next: kmeans_fit.py, pic_fit.py."""

from dataclasses import dataclass
from typing import Any

import torch
from scipy.linalg import eigh
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering.moments import Moments, check_finite
from deepcluster.system.processor import float32_products


@dataclass(kw_only=True)
class FittedReduction:
    """A reduction that can be applied: (x - mean) @ projection, then L2.

    Args:
        mean: (D,) float32, zeros without PCA.
        projection: (D, P) float32, whitening included, or None without PCA.
        l2: divide every row by its length.
        explained_variance: share of the total variance that the P directions keep.
        effective_dim: see :func:`effective_dim`; None without PCA, and in a reduction from a file.
    """

    mean: Tensor
    projection: Tensor | None
    l2: bool
    explained_variance: float
    effective_dim: float | None = None

    @torch.no_grad()
    def apply(self, features: Tensor) -> Tensor:
        """Reduce features (B, D) to (B, P) float32, on their device; L2 leaves a row of zeros as it is.

        Raises:
            ValueError: if the shape is wrong or a value is NaN or infinite.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"features must have shape (B, {len(self.mean)}), got {tuple(features.shape)}")
        features = features.detach().float()
        check_finite(features)
        if self.projection is not None:
            with float32_products(features.device):
                centred = features - self.mean.to(features.device)
                features = centred @ self.projection.to(features.device)
        return normalize(features, dim=1) if self.l2 else features

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only, for checkpoints."""
        return {
            "mean": self.mean,
            "projection": self.projection,
            "l2": self.l2,
            "explained_variance": self.explained_variance,
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "FittedReduction":
        """The reduction that :meth:`state_dict` described."""
        return cls(**state)


def no_pca(dim: int, *, l2: bool) -> FittedReduction:
    """The reduction that keeps all D = dim features, with or without L2."""
    return FittedReduction(mean=torch.zeros(dim), projection=None, l2=l2, explained_variance=1.0)


def fit_pca(moments: Moments, dim: int, *, whiten: bool, l2: bool, epsilon: float) -> FittedReduction:
    """Fit a PCA to the first P = dim eigenvectors of the covariance.

    The eigenvectors are exact: randomised methods miss the small directions, which whitening magnifies. Each one's
    sign is fixed, so equal moments give equal outputs.

    Args:
        whiten: give every kept direction unit variance.
        l2: then divide every row by its length.
        epsilon: smallest variance that whitening divides by, relative to the largest.

    Raises:
        ValueError: if a direction cannot be whitened with epsilon=0.
    """
    mean, covariance = moments.mean_and_covariance()
    total, n_effective = covariance.trace().item(), effective_dim(mean, covariance)
    variances, directions = (
        torch.from_numpy(array.copy()).flip(-1)  # largest first
        for array in eigh(
            covariance.numpy(),
            subset_by_index=[moments.dim - dim, moments.dim - 1],
            driver="evr",
            check_finite=False,
            overwrite_a=True,
        )
    )
    variances = variances.clamp_min(0)
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    projection = directions * largest.sign()
    if whiten:
        projection = projection * _whitening(variances, epsilon)
    return FittedReduction(
        mean=mean.float(),
        projection=projection.float().contiguous(),
        l2=l2,
        explained_variance=variances.sum().item() / total if total > 0 else 1.0,
        effective_dim=n_effective,
    )


def effective_dim(mean: Tensor, covariance: Tensor) -> float:
    """Along how many directions features differ: (sum of variances)^2 / sum of their squares, 1 to D.

    Returns:
        0 if they differ by less than 1e-4 of their length: what rounding in a network leaves of equal images.
    """
    total = covariance.trace().item()
    if total <= 1e-8 * mean.square().sum().item():
        return 0.0
    return total**2 / covariance.square().sum().item()  # the squares of all entries sum up to those of the variances


def _whitening(variances: Tensor, epsilon: float) -> Tensor:
    """The factor (P,) for each direction; 0 if all images have equal features, so that nothing becomes NaN.

    Raises:
        ValueError: if epsilon is 0 and a direction has no variance: in the 2018 code it became infinite.
    """
    if variances[0] == 0 and epsilon > 0:
        return torch.zeros_like(variances)
    floored = variances.clamp_min(epsilon * variances[0].item())
    if floored[-1] == 0:
        n_dead = int((floored == 0).sum())
        raise ValueError(
            f"reduction.epsilon=0 cannot whiten {n_dead} of {len(variances)} directions, "
            "which have no variance; set reduction.epsilon=1e-6 or lower reduction.dim"
        )
    return floored.rsqrt()
