"""`other_rows=patches_and_pixels`: codes of patches beside pixels, each PCA-whitened and brought to length 1.

Patches tell what is in a picture, pixels where; neighbours in both are more often of one kind than neighbours in one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deepcluster.clustering.reduction import Reduction
from deepcluster.features.other_rows import OtherSource, side_of
from deepcluster.features.other_rows_coates import MOST_PIXELS, CoatesRows, grey_rows
from deepcluster.features.other_rows_pixels import averaged_side
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deepcluster.data.images import ImageSet
    from deepcluster.features.extraction import FeaturePass


@dataclass(kw_only=True)
class PatchesAndPixelsRows(CoatesRows):
    """Rows of two parts of the same length: codes of patches (:class:`CoatesRows`) and pixels.

    Args:
        kind: "patches_and_pixels".
        dim: principal components of each part; D is twice as many. They are learned from at most `n_images` images.
    """

    kind: str = "patches_and_pixels"
    dim: int = setting(64, at_least=1)
    reduction: Reduction = field(default_factory=lambda: Reduction(dim=None, whiten=False, l2=True))

    def row_dim(self, images: ImageSet) -> int:
        n_learned_from = min(len(images), self.n_images)
        smallest = min(super().row_dim(images), images.n_channels * self._pixel_side(images) ** 2, n_learned_from - 1)
        if self.dim > smallest:
            raise ValueError(
                f"other_rows.dim={self.dim} is more than the {smallest} components that {n_learned_from} of these "
                "images have; lower it"
            )
        return 2 * self.dim

    def learning_bytes(self, images: ImageSet) -> float:
        n_codes, n_pixels = super().row_dim(images), images.n_channels * self._pixel_side(images) ** 2
        n_learned_from = min(len(images), self.n_images)
        rows = 4.0 * n_learned_from * (n_codes + n_pixels)
        copy = 4.0 * n_learned_from * n_codes  # of one part
        return max(super().learning_bytes(images), rows + copy + self._whitening.fit_bytes(n_codes))

    @property
    def _whitening(self) -> Reduction:
        return Reduction(dim=self.dim, fit_images=None)

    def build(
        self, images: ImageSet, *, seed: int, batch_size: int, num_workers: int, device: torch.device
    ) -> OtherSource:
        """Learn filters and components in the first process, and send them to the others."""
        import torch
        from torch.nn import functional as F

        from deepcluster.clustering.pca import FittedReduction
        from deepcluster.data.images import evenly_spaced
        from deepcluster.features.extraction import collect
        from deepcluster.system.distributed import on_rank_zero

        side, pixel_side = side_of(images, self.size, most=MOST_PIXELS), self._pixel_side(images)
        coates, report = self.learned(images, side=side, seed=seed, device=device)

        def source_of(network: Callable[[Tensor], Tensor]) -> FeaturePass:
            return grey_rows(network, images, side=side, batch_size=batch_size, num_workers=num_workers, device=device)

        def parts(grey: Tensor) -> tuple[Tensor, Tensor]:
            return coates(grey), F.adaptive_avg_pool2d(grey, pixel_side).flatten(1)

        def learn() -> list[dict[str, Any]]:
            chosen = torch.tensor(evenly_spaced(len(images), self.n_images))
            rows = collect(source_of(lambda grey: torch.cat(parts(grey), dim=1)), chosen)
            halves = (rows[:, : coates.feature_dim], rows[:, coates.feature_dim :])
            return [self._whitening.fit_rows(part.contiguous()).state_dict() for part in halves]

        states = on_rank_zero("whitening patches and pixels", learn)
        fitted = [FittedReduction.from_state_dict(state) for state in states]

        def rows(grey: Tensor) -> Tensor:
            return torch.cat([one.apply(part) for one, part in zip(fitted, parts(grey), strict=True)], dim=1)

        return OtherSource(source_of(rows), 2 * self.dim, f"patches and pixels: {report}")

    def _pixel_side(self, images: ImageSet) -> int:
        return averaged_side(images.n_channels, side_of(images, self.size, most=MOST_PIXELS))
