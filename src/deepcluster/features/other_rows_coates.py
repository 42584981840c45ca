"""`other_rows=coates`: k-means features of patches (Coates, Ng and Lee 2011), learned in seconds without a gradient.

Filters are k-means centroids of whitened patches; a row sums, over each quadrant, how near the patches are to each
filter. Next: weights/patch_filters.py learns the filters, models/coates.py computes the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepcluster.clustering.reduction import Reduction
from deepcluster.features.other_rows import OtherSource, UsedRows, side_of
from deepcluster.system.setting import setting
from deepcluster.weights.patch_settings import PatchSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from deepcluster.data.images import ImageSet
    from deepcluster.features.extraction import FeaturePass
    from deepcluster.models.coates import Coates

MOST_PIXELS = 32  # side: larger ones cost more, and patches of 6 pixels then show less of the picture


@dataclass(kw_only=True)
class CoatesRows(UsedRows):
    """Rows of filters that k-means learns from patches of the images: D = 4 n_filters, thrice that with two layers.

    Args:
        kind: "coates".
        n_filters: filters; the seconds grow with it.
        layers: 2: filters of the first ones' answers too (models/coates.py), about twice as many.
        patch_size: side of the patches, in pixels of the resized images.
        size: side to which images are resized; null: their own, at most 32.
        n_patches: patches to learn from.
        n_images: the most images that patches are cut from.
    """

    kind: str = "coates"
    n_filters: int = setting(100, at_least=2)
    layers: int = setting(1, one_of=(1, 2))
    patch_size: int = setting(6, at_least=2)  # Coates et al. 2011
    size: int | None = setting(None, at_least=4, hint="null takes the images' own, at most 32")
    n_patches: int = setting(50_000, at_least=2)
    n_images: int = setting(5_000, at_least=1)
    reduction: Reduction = field(default_factory=lambda: Reduction(dim=64))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_patches < self.n_filters:
            raise ValueError(
                f"other_rows.n_patches={self.n_patches} is less than other_rows.n_filters={self.n_filters}; raise it "
                "to a hundred patches a filter"
            )

    def row_dim(self, images: ImageSet) -> int:
        from deepcluster.models.coates import least_side

        side = side_of(images, self.size, most=MOST_PIXELS)
        if self.patch_size >= side:
            raise ValueError(
                f"other_rows.patch_size must be below the images' side of {side} pixels, got {self.patch_size}"
            )
        if self.layers == 2 and side < least_side(self.patch_size):
            raise ValueError(
                f"other_rows.layers=2 with other_rows.patch_size={self.patch_size} needs images of "
                f"{least_side(self.patch_size)} pixels a side, these have {side}; lower other_rows.patch_size, or set "
                "other_rows.layers=1"
            )
        return self._network(images.n_channels, side).feature_dim

    def learning_bytes(self, images: ImageSet) -> float:
        from deepcluster.weights.patch_filters import learning_bytes

        network = self._network(images.n_channels, side_of(images, self.size, most=MOST_PIXELS))
        return learning_bytes(self._patches(), network, card={})

    def _patches(self) -> PatchSettings:
        return PatchSettings(n_patches=self.n_patches, n_images=self.n_images)

    def _network(self, n_channels: int, side: int) -> Coates:
        from deepcluster.models.coates import Coates

        return Coates(n_channels, side, self.n_filters, self.patch_size, layers=self.layers)

    def build(
        self, images: ImageSet, *, seed: int, batch_size: int, num_workers: int, device: torch.device
    ) -> OtherSource:
        """Learn the filters in the first process, and send them to the others."""
        side = side_of(images, self.size, most=MOST_PIXELS)
        network, report = self.learned(images, side=side, seed=seed, device=device)
        source = grey_rows(network, images, side=side, batch_size=batch_size, num_workers=num_workers, device=device)
        return OtherSource(source, network.feature_dim, f"coates: {report}")

    def learned(self, images: ImageSet, *, side: int, seed: int, device: torch.device) -> tuple[Coates, str]:
        """The network of the filters, the same on every process; and a line on what was learned."""
        from deepcluster.system.distributed import on_rank_zero
        from deepcluster.weights.patch_filters import learn_from_patches

        n_channels = images.n_channels
        network = self._network(n_channels, side)

        def learn() -> tuple[dict[str, torch.Tensor], str]:
            mean, std = grey_levels(n_channels)
            card = {"image_size": side, "resize": side, "mean": mean, "std": std}
            report = learn_from_patches(self._patches(), network, card=card, images=images, seed=seed, device=device)
            return network.state_dict(), report

        state, report = on_rank_zero(f"learning the filters of other_rows={self.kind}", learn)
        network.load_state_dict(state)
        return network.to(device).eval(), report.removeprefix("kmeans_patches: ")


def grey_levels(n_channels: int) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel by which images in [0, 1] become grey levels of 0..255."""
    return [0.0] * n_channels, [1 / 255] * n_channels


def grey_rows(
    network: Callable[[Tensor], Tensor],
    images: ImageSet,
    *,
    side: int,
    batch_size: int,
    num_workers: int,
    device: torch.device,
) -> FeaturePass:
    """The rows that a network gives of grey levels (B, C, side, side), see :func:`image_rows`."""
    from deepcluster.features.image_rows import image_rows

    mean, std = grey_levels(images.n_channels)
    return image_rows(
        network,
        images,
        side=side,
        mean=mean,
        std=std,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
    )
