"""Features (N, D) -> reduced features (N, P): PCA, whitening, L2. Next: kmeans.py clusters them.

PCA is fitted from streamed moments, so the (N, D) matrix need not exist:

    moments = Moments(dim=D)
    for features in batches: moments.update(features)
    reduction = settings.fit(moments)
    reduced = torch.cat([reduction.apply(features) for features in batches])
"""

from dataclasses import dataclass
from typing import Any

import torch
from scipy.linalg import eigh
from torch import Tensor
from torch.nn.functional import normalize

from deepcluster.clustering.moments import Moments, check_finite
from deepcluster.system.processor import float32_products

__all__ = ["FittedReduction", "Moments", "Reduction"]


@dataclass(kw_only=True)
class FittedReduction:
    """A reduction that can be applied: (x - mean) @ projection, then L2.

    Args:
        mean: (D,) float32, zeros without PCA.
        projection: (D, P) float32, whitening included, or None without PCA.
        l2: divide every row by its length.
        explained_variance: share of the total variance that the P directions keep.
    """

    mean: Tensor
    projection: Tensor | None
    l2: bool
    explained_variance: float

    @torch.no_grad()
    def apply(self, features: Tensor) -> Tensor:
        """Reduce features (B, D) to (B, P) float32, on their device; a row of zeros stays zero under L2.

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


@dataclass(kw_only=True)
class Reduction:
    """PCA, whitening and L2 before the clustering (2018 code: clustering.py, preprocess_features).

    Args:
        dim: dimension P after PCA; null keeps all D (no PCA, no centring, no whitening).
        whiten: give every kept direction unit variance.
        l2: divide every row by its length, afterwards.
        epsilon: smallest variance that whitening divides by, relative to the largest. The 2018 code has none
            (0): there, dead directions become NaN.
        fit_images: fit PCA on at most so many images; null: on all.
    """

    dim: int | None = 64  # 256 in the 2018 code (clustering.py, preprocess_features); the default network has 84
    whiten: bool = True
    l2: bool = True
    epsilon: float = 1e-6
    fit_images: int | None = 100_000

    def __post_init__(self) -> None:
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"reduction.dim must be at least 1 (or null: no PCA), got {self.dim}")
        if not 0 <= self.epsilon < 1:
            raise ValueError(f"reduction.epsilon must be in [0, 1), got {self.epsilon}")
        if self.fit_images is not None and self.fit_images < max(2, self.dim or 0):
            least = max(2, self.dim or 0)
            raise ValueError(
                f"reduction.fit_images must be at least {least} (reduction.dim={self.dim}), got {self.fit_images}"
            )

    @property
    def needs_fit(self) -> bool:
        """Whether :meth:`fit` looks at the moments; if not, empty ones of the right dimension will do."""
        return self.dim is not None

    def output_dim(self, feature_dim: int) -> int:
        """Dimension P of the reduced features."""
        return feature_dim if self.dim is None else self.dim

    def check(self, n_images: int, feature_dim: int) -> None:
        """Refuse a dim that n_images images of feature_dim features cannot give.

        Raises:
            ValueError: naming the key, the limit and the way out.
        """
        if self.dim is None:
            return
        way_out = "lower it or set reduction=l2"
        if n_images < max(self.dim, 2):
            least = max(self.dim, 2)
            raise ValueError(f"reduction.dim={self.dim} needs at least {least} images, there are {n_images}; {way_out}")
        if feature_dim < self.dim:
            raise ValueError(f"reduction.dim={self.dim} is more than the network's {feature_dim} features; {way_out}")

    def fit(self, moments: Moments) -> FittedReduction:
        """Fit to the moments of the features (all processes' together).

        Exact: the top P eigenvectors of the covariance (randomised methods are not, since whitening magnifies
            the
        small directions; SPEED.md 5). Signs are fixed, so equal moments give equal outputs.

        Raises:
            ValueError: if there are too few images or features, or a direction cannot be whitened with
                epsilon=0.
        """
        if self.dim is None:
            mean = torch.zeros(moments.dim)
            return FittedReduction(mean=mean, projection=None, l2=self.l2, explained_variance=1.0)
        self.check(moments.n, moments.dim)
        mean, covariance = moments.mean_and_covariance()
        total = covariance.trace().item()
        first = moments.dim - self.dim
        variances, directions = (
            torch.from_numpy(array.copy()).flip(-1)  # largest first
            for array in eigh(
                covariance.numpy(),
                subset_by_index=[first, moments.dim - 1],
                driver="evr",
                check_finite=False,
                overwrite_a=True,
            )
        )
        variances = variances.clamp_min(0)
        largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
        projection = directions * largest.sign()
        if self.whiten:
            projection = projection * self._whitening(variances)
        return FittedReduction(
            mean=mean.float(),
            projection=projection.float().contiguous(),
            l2=self.l2,
            explained_variance=variances.sum().item() / total if total > 0 else 1.0,
        )

    def _whitening(self, variances: Tensor) -> Tensor:
        """The factor (P,) for each direction; 0 where all features are equal, so that nothing becomes NaN.

        Raises:
            ValueError: if epsilon is 0 and a direction has no variance: in the 2018 code it became infinite.
        """
        if variances[0] == 0 and self.epsilon > 0:
            return torch.zeros_like(variances)
        floored = variances.clamp_min(self.epsilon * variances[0].item())
        if floored[-1] == 0:
            n_dead = int((floored == 0).sum())
            raise ValueError(
                f"reduction.epsilon=0 cannot whiten {n_dead} of {len(variances)} directions, "
                "which have no variance; set reduction.epsilon=1e-6 or lower reduction.dim"
            )
        return floored.rsqrt()
