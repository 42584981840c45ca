"""`other_rows=coates`: k-means features of patches (Coates, Ng and Lee 2011), learned in seconds without a gradient.

Filters are k-means centroids of whitened patches; a row sums, over each quadrant, how near the patches are to each
filter. Next: weights/patch_filters.py learns the filters, models/coates.py computes the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepcluster.clustering.reduction import Reduction
from deepcluster.features.other_rows import OtherSource, UsedRows, side_of
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    import torch

    from deepcluster.data.images import ImageSet

MOST_PIXELS = 32  # side: larger ones cost more, and patches of 6 pixels then show less of the picture


@dataclass(kw_only=True)
class CoatesRows(UsedRows):
    """Rows of a single layer of filters that k-means learns from patches of the images: D = 4 n_filters.

    Args:
        kind: "coates".
        n_filters: filters; the seconds grow with it.
        patch_size: side of the patches, in pixels of the resized images.
        size: side to which images are resized; null: their own, at most 32.
        n_patches: patches to learn from.
        n_images: the most images that patches are cut from.
    """

    kind: str = "coates"
    n_filters: int = setting(100, at_least=2)
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
        side = side_of(images, self.size, most=MOST_PIXELS)
        if self.patch_size >= side:
            raise ValueError(
                f"other_rows.patch_size must be below the images' side of {side} pixels, got {self.patch_size}"
            )
        return 4 * self.n_filters

    def build(
        self, images: ImageSet, *, seed: int, batch_size: int, num_workers: int, device: torch.device
    ) -> OtherSource:
        """Learn the filters in the first process, and send them to the others."""
        from deepcluster.features.image_rows import image_rows
        from deepcluster.models.coates import Coates
        from deepcluster.system.distributed import on_rank_zero
        from deepcluster.weights.patch_filters import learn_from_patches
        from deepcluster.weights.patch_settings import PatchSettings

        side, n_channels = side_of(images, self.size, most=MOST_PIXELS), images.n_channels
        mean, std = [0.0] * n_channels, [1 / 255] * n_channels  # the network reads grey levels
        network = Coates(n_channels, side, self.n_filters, self.patch_size)
        patches = PatchSettings(n_patches=self.n_patches, n_images=self.n_images)

        def learn() -> tuple[dict[str, torch.Tensor], str]:
            card = {"image_size": side, "resize": side, "mean": mean, "std": std}
            report = learn_from_patches(patches, network, card=card, images=images, seed=seed, device=device)
            return network.state_dict(), report

        learned, report = on_rank_zero("learning the filters of other_rows=coates", learn)
        network.load_state_dict(learned)
        source = image_rows(
            network.to(device).eval(),
            images,
            side=side,
            mean=mean,
            std=std,
            batch_size=batch_size,
            num_workers=num_workers,
            device=device,
        )
        return OtherSource(source, network.feature_dim, f"coates: {report.removeprefix('kmeans_patches: ')}")
