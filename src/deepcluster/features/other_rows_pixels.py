"""`other_rows=pixels`: the pixels of small pictures; with the reduction's PCA and whitening. Nothing is learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isqrt
from typing import TYPE_CHECKING

from deepcluster.clustering.reduction import Reduction
from deepcluster.features.other_rows import OtherSource, UsedRows, side_of
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    import torch

    from deepcluster.data.images import ImageSet

MOST_NUMBERS = 1024  # of a row: PCA's seconds grow with its cube


def averaged_side(n_channels: int, side: int) -> int:
    """The side to which pixels are averaged: half of the images' until a row of them is short."""
    while n_channels * side**2 > MOST_NUMBERS and side > 1:
        side //= 2
    return side


@dataclass(kw_only=True)
class PixelRows(UsedRows):
    """Rows of all pixels of resized images: D = channels x size x size.

    Args:
        kind: "pixels".
        size: side to which images are resized; null: their own, at most 32 for grey and 18 for colour images.
    """

    kind: str = "pixels"
    size: int | None = setting(None, at_least=2, hint="null takes the images' own, at most 32 (18 of colours)")
    reduction: Reduction = field(default_factory=lambda: Reduction(dim=64))

    def row_dim(self, images: ImageSet) -> int:
        return images.n_channels * self._side(images) ** 2

    def build(
        self, images: ImageSet, *, seed: int, batch_size: int, num_workers: int, device: torch.device
    ) -> OtherSource:
        from torch import nn

        from deepcluster.features.image_rows import image_rows

        side, n_channels = self._side(images), images.n_channels
        source = image_rows(
            nn.Flatten(),
            images,
            side=side,
            mean=[0.0] * n_channels,
            std=[1.0] * n_channels,
            batch_size=batch_size,
            num_workers=num_workers,
            device=device,
        )
        return OtherSource(source, self.row_dim(images), f"pixels: {n_channels}x{side}x{side}")

    def _side(self, images: ImageSet) -> int:
        return side_of(images, self.size, most=isqrt(MOST_NUMBERS // images.n_channels))
