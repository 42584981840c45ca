"""Settings of the reduction, features (N, D) -> (N, P), read without importing torch. Next: moments.py, pca.py.

PCA is fitted from streamed moments, so the (N, D) matrix need not exist:

    moments = Moments(dim=D)
    for features in batches: moments.update(features)
    reduction = settings.fit(moments)
    reduced = torch.cat([reduction.apply(features) for features in batches])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    from torch import Tensor

    from deepcluster.clustering.moments import Moments
    from deepcluster.clustering.pca import FittedReduction


@dataclass(kw_only=True)
class Reduction:
    """PCA, whitening and L2 before the clustering (2018 code: clustering.py, preprocess_features).

    Args:
        dim: dimension P after PCA; null keeps all D (no PCA, no centring, no whitening).
        dim_at_most: where there are fewer features D than dim, keep all D; false refuses that.
        whiten: give every kept direction unit variance.
        l2: then divide every row by its length.
        epsilon: smallest variance that whitening divides by, relative to the largest. 0 refuses directions without
            variance, which become NaN in the 2018 code.
        fit_images: the most images to fit the PCA on; null: all.
    """

    # 256 in the 2018 code (clustering.py, preprocess_features); the default network has 84
    dim: int | None = setting(64, at_least=1, hint="null does no PCA")
    dim_at_most: bool = False
    whiten: bool = True
    l2: bool = True
    epsilon: float = setting(1e-6, at_least=0, below=1)
    fit_images: int | None = 100_000

    def __post_init__(self) -> None:
        check(self, "reduction")
        least = max(2, self.dim or 0)
        if self.fit_images is not None and self.fit_images < least:
            raise ValueError(
                f"reduction.fit_images must be at least {least} (reduction.dim={self.dim}), got {self.fit_images}"
            )

    @property
    def needs_fit(self) -> bool:
        """Whether :meth:`fit` needs the moments' values; if not, it takes empty ones of the right dimension."""
        return self.dim is not None

    def output_dim(self, feature_dim: int) -> int:
        """Dimension P of the reduced features."""
        if self.dim is None:
            return feature_dim
        return min(self.dim, feature_dim) if self.dim_at_most else self.dim

    def n_fit(self, n_images: int) -> int:
        """The number of images that :meth:`fit` needs the moments of."""
        return min(n_images, self.fit_images or n_images) if self.needs_fit else 0

    def fit_bytes(self, feature_dim: int) -> float:
        """Memory that :meth:`fit` takes: sums in float64, the covariance and its copy."""
        return 24.0 * feature_dim**2 if self.needs_fit else 0.0

    def check(
        self, n_images: int, feature_dim: int, *, key: str = "reduction", of: str = "features of the network"
    ) -> None:
        """Refuse a dim that is larger than the number of images or of features.

        Args:
            key: its place in the config.
            of: what the D numbers of a row are, for the message.

        Raises:
            ValueError: naming the key, the limit and the way out.
        """
        if self.dim is None:
            return
        chosen, way_out = f"{key}.dim={self.dim}", f"lower it, or {key}.dim=null does no PCA"
        least = max(self.output_dim(feature_dim), 2)
        if n_images < least:
            raise ValueError(f"{chosen} needs at least {least} images, there are {n_images}; {way_out}")
        if feature_dim < self.output_dim(feature_dim):
            raise ValueError(f"{chosen} is more than the {feature_dim} {of}; {way_out}")

    def fit(self, moments: Moments) -> FittedReduction:
        """Fit to the moments of the features, summed over all processes.

        Raises:
            ValueError: if there are too few images or features, or a direction cannot be whitened with
                epsilon=0.
        """
        from deepcluster.clustering.pca import fit_pca, no_pca

        if self.dim is None:
            return no_pca(moments.dim, l2=self.l2)
        self.check(moments.n, moments.dim)
        return fit_pca(moments, self.output_dim(moments.dim), whiten=self.whiten, l2=self.l2, epsilon=self.epsilon)

    def fit_rows(self, rows: Tensor) -> FittedReduction:
        """:meth:`fit` to rows (n, D) that are in memory.

        Raises:
            ValueError: see :meth:`fit`.
        """
        from deepcluster.clustering.moments import Moments

        moments = Moments(rows.shape[1])
        moments.update(rows)
        return self.fit(moments)
